/** Rules on slots: who serves them, who replicates whom, and how they are spread. */
import { act, fewest, wait } from './rule.mjs';
import { rangesOf, SLOTS, slotsOf } from './slots.mjs';
import { entryOf, self } from './survey.mjs';

const SLOTS_A_ROUND = 4096; // moved before the world is looked at again

export function agree(config, world) {
  if (!world.agreed) return wait('the nodes to agree on who holds which slots');
  const down = world.members.filter(({ ok }) => !ok);
  return down.length && !world.free.length ? wait(`${down.map(({ host }) => host)} to take part`) : undefined;
}

export function openSlots(config, world) {
  const stable = [];
  const moves = new Map();
  const ownerOf = (slot) =>
    world.identities.find(({ ranges }) => ranges.some(([from, to]) => from <= slot && slot <= to));
  const standIn = (id) => {
    // the master that has the data of this node now
    const known = world.get(id);
    return known?.master ? world.get(known.master) : known;
  };
  for (const pod of world.members) {
    for (const { slot, to, from } of self(pod).open) {
      const owner = ownerOf(slot);
      const target = to ? standIn(to) : world.get(pod.id);
      const own = owner?.id === pod.id;
      if (to ? !own || !target || owner === target : own || !owner) {
        stable.push({
          action: 'stable',
          on: pod,
          slot,
          why: `the move of slot ${slot} ${to ? 'to' : 'from'} ${to ?? from} is over`,
        });
      } else if (owner.pod && target.pod) {
        // both ends may tell of it; the target may hold keys that the owner lacks
        moves.set(slot, [owner.pod, target.pod]);
      } else {
        return wait(`${(owner.pod ? target : owner).host}, to finish moving slot ${slot}`);
      }
    }
  }
  const pairs = Map.groupBy(moves, ([, ends]) => ends.map(({ id }) => id).join());
  return act([
    ...stable,
    ...Array.from(pairs.values(), (group) => {
      const [from, to] = group[0][1];
      return { action: 'move', slots: group.map(([slot]) => slot), from, to, why: 'it was interrupted' };
    }),
  ]);
}

/** The identities that should be masters: those that hold slots and stay, by ordinal; then empty nodes. */
function mastersOf(config, world) {
  const staying = world.identities.filter(world.stays).toSorted((a, b) => a.ordinal - b.ordinal);
  const holding = staying.filter(({ size }) => size);
  const empty = staying.filter(({ pod, size, master }) => pod && !size && !master && !pod.keys);
  return [...holding.slice(0, config.masters), ...empty].slice(0, config.masters);
}

const inStep = (replica) => replica.pod?.linked === true;

export function masters(config, world) {
  if (mastersOf(config, world).length >= config.masters) return undefined;
  for (const leaving of world.identities.filter((one) => one.size && one.pod && !world.stays(one))) {
    const heir = world.replicasOf(leaving.id).find((replica) => world.stays(replica) && inStep(replica));
    if (heir) return act([{ action: 'failover', on: heir.pod, why: `${leaving.host} is to leave` }]);
  }
  if (world.absent.length || !world.founded.length)
    return wait(`${world.absent.map(({ host, absent }) => `${host} (${absent})`)}: too few masters`);
  const spare = world.identities
    .filter((one) => one.master && world.stays(one) && one.pod && world.get(one.master)?.pod)
    .map((one) => ({
      one,
      others: world.replicasOf(one.master).filter((other) => other !== one && inStep(other)).length,
    }))
    .filter(({ others }) => others > 0 || config.replicas === 0);
  if (!spare.length) return wait('a spare replica to make a master of');
  const { one } = fewest(
    spare,
    ({ others }) => -others,
    ({ one: { ordinal } }) => -ordinal,
  );
  return act([{ action: 'renew', on: one.pod, why: 'its master has other replicas, and masters are missing' }]);
}

export function replicas(config, world) {
  const chosen = mastersOf(config, world);
  const ready = chosen.filter(({ pod }) => pod);
  if (!ready.length) return undefined;
  const followers = new Map(chosen.map(({ id }) => [id, world.replicasOf(id).filter(world.stays)]));
  // StatefulSets spread pods in turn: the neighbour of another master's ordinal is most likely on another machine.
  const distance = (master, one) =>
    ({ [(one.ordinal + config.masters - 1) % config.masters]: 0, [one.ordinal % config.masters]: 2 })[
      master.ordinal % config.masters
    ] ?? 1;
  const pick = (one) =>
    fewest(
      ready,
      ({ id }) => followers.get(id).length,
      (master) => distance(master, one),
      ({ ordinal }) => ordinal,
    );
  const actions = [];
  const assign = (one, why) => {
    const master = pick(one);
    followers.get(master.id).push(one);
    actions.push({ action: 'replicate', on: one.pod, master: master.pod, why });
  };
  const idle = world.identities
    .filter((one) => one.pod && !one.size && world.stays(one) && !chosen.includes(one))
    .toSorted((a, b) => a.ordinal - b.ordinal);
  for (const one of idle) {
    const master = one.master && world.get(one.master);
    if (!one.master && one.pod.keys) return wait(`${one.host} holds keys but no slots`);
    if (!one.master) assign(one, 'it is free');
    else if (!chosen.includes(master) && !master?.size) assign(one, 'its master holds no slots');
  }
  if (actions.length) return act(actions);
  const most = fewest(chosen, ({ id }) => -followers.get(id).length);
  const least = fewest(ready, ({ id }) => followers.get(id).length);
  const spare = followers.get(most.id).findLast(({ pod }) => pod);
  if (spare && followers.get(most.id).length - followers.get(least.id).length > 1) {
    return act([{ action: 'replicate', on: spare.pod, master: least.pod, why: `${most.host} has replicas to spare` }]);
  }
  return undefined;
}

/** Masters with the number of slots that each should hold; those that hold most get what the division leaves over. */
function quotas(chosen) {
  const share = Math.floor(SLOTS / chosen.length);
  return new Map(
    chosen
      .toSorted((a, b) => b.size - a.size || a.ordinal - b.ordinal)
      .map((one, i) => [one, share + (i < SLOTS % chosen.length ? 1 : 0)]),
  );
}

export function freeSlots(config, world) {
  if (!world.free.length || world.strangers.length) return undefined; // a stranger may have the keys of free slots
  if (world.absent.length)
    return wait(
      `${world.absent.map(({ host, absent }) => `${host} (${absent})`)}: ${world.free.length} slots are free`,
    );
  const chosen = mastersOf(config, world);
  const left = [...world.free];
  const actions = [];
  for (const [one, quota] of quotas(chosen)) {
    const given = left.splice(0, Math.max(0, quota - one.size));
    if (given.length) actions.push({ action: 'assign', on: one.pod, ranges: rangesOf(given) });
  }
  return act(actions);
}

export function balance(config, world) {
  const chosen = mastersOf(config, world);
  const wanted = quotas(chosen);
  const surplus = world.identities
    .filter((one) => one.size > (wanted.get(one) ?? 0))
    .map((one) => ({ one, slots: slotsOf(one.ranges).slice(wanted.get(one) ?? 0) }));
  const places = [...wanted]
    .filter(([one, quota]) => one.size < quota)
    .map(([one, quota]) => ({ one, room: quota - one.size }));
  if (!surplus.length) return undefined;
  const missing = [...surplus, ...places].filter(({ one }) => !one.pod);
  if (missing.length) return wait(`${missing.map(({ one }) => one.host)}, to balance the slots`);
  const nameless = places.filter((place) =>
    surplus.some(({ one }) => entryOf(one.pod, place.one.id)?.host !== place.one.host),
  );
  // clients would be sent to "?"
  if (nameless.length) return wait(`${nameless.map(({ one }) => one.host)} to be known by name`);
  const behind = places
    .flatMap(({ one }) => world.replicasOf(one.id))
    .filter((replica) => replica.pod && !inStep(replica));
  if (behind.length) return wait(`${behind.map(({ host }) => host)} to be in step before slots move`);
  const actions = [];
  let left = SLOTS_A_ROUND;
  for (const place of places) {
    for (const { one, slots } of surplus) {
      const moved = slots.splice(0, Math.min(place.room, left));
      if (!moved.length) continue;
      place.room -= moved.length;
      left -= moved.length;
      actions.push({ action: 'move', slots: moved, from: one.pod, to: place.one.pod });
    }
  }
  return act(actions);
}
