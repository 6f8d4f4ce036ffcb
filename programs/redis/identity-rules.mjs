/** Rules on identities: who belongs to the cluster, and what becomes of those that lost their place in it. */
import { act, fewest, wait } from './rule.mjs';
import { rangesOf, sizeOf, slotsOf } from './slots.mjs';
import { entryOf, groupsOf, self } from './survey.mjs';

const ELECTION_MS = 10000; // for the masters to elect a replica, before it takes over without their votes
const HEIRS_MS = 15000; // for the replicas of a node that lost its identity to answer
export const HANDSHAKE_MS = 3000; // for nodes to know each other after they were introduced
const BANNED_MS = 65000; // for which nodes refuse an identity after CLUSTER FORGET: a minute, and some more

/**
 * Members that know each other, as far as they hold most of the slots. A member outside of it knows the others but was
 * forgotten by them (or is being introduced just now). For a minute nodes would forget it again whenever one of them
 * takes it back, so it gets a new identity, unless it may hold the only copy of something: then that minute is waited.
 */
function coreOf({ members, founded }) {
  const groups = groupsOf(members, (a, b) => entryOf(a, b.id) && entryOf(b, a.id));
  return founded.length ? fewest(groups, (group) => -sizeOf(group.flatMap((pod) => self(pod).ranges))) : members;
}

export function introduce(config, world, since) {
  if (!world.founded.length) {
    if (world.absent.length)
      return wait(`to create the cluster: ${world.absent.map(({ host, absent }) => `${host} (${absent})`)}`);
    const kept = world.wanted.filter(({ keys }) => keys > 0);
    if (kept.length)
      return wait(`${kept.map(({ host }) => host)} hold keys but no slots; remove them by hand if they are worthless`);
  }
  const core = coreOf(world);
  const forgotten = world.members
    .filter((pod) => pod.ordinal < config.pods && !core.includes(pod))
    .map((pod) => ({
      pod,
      age: since(`forgotten ${pod.id}`),
      only: self(pod).ranges.length || (pod.keys && !world.get(self(pod).master)?.pod),
    }));
  const newcomers = world.outsiders.filter((pod) => !world.strangers.includes(pod));
  const taken = forgotten.filter(({ age }) => age > BANNED_MS).map(({ pod }) => pod);
  const meetings = [...core, ...taken, ...newcomers]
    .map((pod) => ({
      action: 'meet',
      on: pod,
      peers: [...core, ...taken].filter((peer) => peer !== pod && entryOf(pod, peer.id)?.address !== peer.address),
    }))
    .filter(({ peers }) => peers.length);
  if (meetings.length) return act(meetings);
  const renewed = forgotten.filter(({ age, only }) => age > HANDSHAKE_MS && !only);
  if (renewed.length)
    return act(renewed.map(({ pod }) => ({ action: 'renew', on: pod, why: 'the others have forgotten it' })));
  return forgotten.length ? wait(`${forgotten.map(({ pod }) => pod.host)} to be known to the others`) : undefined;
}

/**
 * A stranger that lost its identity knows nobody, and has from Redis the slots of its keys, and no epoch. One that has
 * an epoch was introduced a moment ago. One after the other, that with most keys first: two may have the same keys.
 */
export function strangers(config, world, since) {
  const ownerOf = new Map(world.identities.flatMap((one) => slotsOf(one.ranges).map((slot) => [slot, one])));
  const left = []; // what is said of those that are left alone
  if (
    world.strangers.length &&
    world.absent.length &&
    !world.members.some((pod) => world.others(pod).length) &&
    since('founding') < HEIRS_MS
  ) {
    return wait(`${world.absent.map(({ host }) => host)}, which may know the cluster`);
  }
  for (const pod of world.strangers.toSorted(
    (a, b) => Number(self(b).epoch > 0) - Number(self(a).epoch > 0) || b.keys - a.keys,
  )) {
    const dead = world
      .others(pod)
      .filter(({ id, host }) => world.live.some((one) => one.host === host && one.id !== id));
    if (dead.length && dead.length === world.others(pod).length) {
      // those who came back found each other without this one
      return act(
        dead.map(({ id, host }) => ({ action: 'forget', by: [pod], id, host, why: 'it has another identity now' })),
      );
    }
    const { epoch, ranges } = self(pod);
    const claimed = slotsOf(ranges);
    const owners = new Set(claimed.map((slot) => ownerOf.get(slot)).filter(Boolean));
    const stronger = [...owners].every((one) => !one.pod && one.epoch < epoch);
    if (world.others(pod).length || !claimed.length || !(epoch === 0 || stronger)) {
      left.push(
        `${pod.host} holds keys or slots but is not known to the cluster. To do: if they are worthless, ` +
          'empty its volume and restart it',
      );
      continue;
    }
    const mine = world.identities.filter(
      (one) => one.stranger === pod || (owners.has(one) && (one.replaced || one.stranger?.keys < pod.keys)),
    );
    const owed = [...owners].filter((one) => !one.pod && !mine.includes(one));
    if (owed.length) {
      left.push(`${owed.map(({ host }) => host)} to return; ${pod.host} has keys of its slots`);
      continue;
    }
    const heirs = mine.filter(({ size }) => size).flatMap(({ id }) => world.replicasOf(id));
    const late = heirs.filter((heir) => !heir.pod && !heir.stranger);
    if (late.length && since(`heirs ${pod.id}`) < HEIRS_MS)
      return wait(`${late.map(({ host }) => host)}, which may have more of the keys of ${pod.host}`);
    const drop = (why) => act([{ action: 'drop', on: pod, why: `${why}; its files are set aside on its volume` }]);
    const elsewhere = claimed.filter((slot) => ownerOf.get(slot)?.pod);
    const moving = new Map(
      world.members.flatMap((other) =>
        self(other)
          .open.filter(({ to }) => mine.some(({ id }) => id === to))
          .map(({ slot }) => [slot, other.id]),
      ),
    );
    if (elsewhere.length === claimed.length && !elsewhere.some((slot) => moving.has(slot)))
      return drop('others serve all of its slots');
    if (heirs.some((heir) => heir.pod?.keys > pod.keys)) return drop('a replica has more of its keys');
    const highest = Math.max(
      ...world.live.flatMap((other) => [other.epoch ?? 0, ...other.nodes.map((entry) => entry.epoch ?? 0)]),
    );
    return act([
      {
        action: 'claim',
        on: pod,
        peers: coreOf(world),
        epoch: epoch ? undefined : highest + 1,
        why: 'it lost its identity and has its keys',
        ranges: rangesOf(
          mine
            .flatMap((one) => slotsOf(one.ranges))
            .filter((slot) => !claimed.includes(slot))
            .toSorted((a, b) => a - b),
        ),
        moving: elsewhere.filter((slot) => moving.has(slot)).map((slot) => [slot, moving.get(slot)]),
        older: elsewhere.filter((slot) => !moving.has(slot)),
      },
    ]);
  }
  if (!left.length) return undefined;
  const groups = world.founded.map((group) => group.map(({ ordinal }) => ordinal));
  const clusters =
    world.founded.length > 1 ? `${world.founded.length} clusters that do not know each other, of ${groups}: ` : '';
  return { ...wait(clusters + left.join('; ')), others: true };
}

export function lost(config, world, since) {
  for (const old of world.identities.filter(({ replaced, size }) => replaced && size)) {
    const replicas = world.replicasOf(old.id);
    const ready = replicas.filter(({ pod }) => pod);
    if (!replicas.length)
      return act([forgetting(world, old, `its volume is lost, and no replica has the keys of its ${old.size} slots`)]);
    if (!ready.length)
      return wait(`${replicas.map(({ host }) => host)} to take over from ${old.host}, which lost its volume`);
    const best = fewest(
      ready,
      ({ pod }) => -pod.offset,
      ({ ordinal }) => ordinal,
    );
    const elected = since(`election ${old.id}`) < ELECTION_MS;
    return act([{ action: elected ? 'election' : 'takeover', on: best.pod, why: `${old.host} lost its volume` }]);
  }
  return undefined;
}

// Everywhere at once, because nodes would hear of it again from each other; not by its replicas, which refuse.
const forgetting = (world, { id, host }, why) => ({
  action: 'forget',
  by: world.members.filter((pod) => entryOf(pod, id) && self(pod).master !== id),
  id,
  host,
  why,
});

export function forget(config, world) {
  const useless = world.identities.filter(
    ({ pod, size, replaced, gone, host }) => !pod && !size && (replaced || gone || (!host && !world.absent.length)),
  );
  return act(
    useless
      .map((old) => forgetting(world, old, old.replaced ? 'its pod has another identity now' : 'its pod is gone'))
      .filter(({ by }) => by.length),
  );
}

export function follow(config, world) {
  const astray = world.members.filter((pod) => {
    const master = self(pod).master && world.get(self(pod).master)?.pod;
    return master && !pod.linked && pod.follows !== master.address;
  });
  return act(
    astray.map((pod) => ({
      action: 'replicate',
      on: pod,
      master: world.get(self(pod).master).pod,
      why: 'it follows an old address',
    })),
  );
}

/**
 * A node with a new identity starts closed: whoever followed the old one by its address would copy the new one's keys,
 * which may be none. It may be followed once nobody follows the old one.
 */
export function open(config, world) {
  const followed = (pod) =>
    world.identities.some((one) => one.replaced && one.ordinal === pod.ordinal && world.replicasOf(one.id).length);
  return act(world.members.filter((pod) => pod.closed && !followed(pod)).map((pod) => ({ action: 'open', on: pod })));
}
