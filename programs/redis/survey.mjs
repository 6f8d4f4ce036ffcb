/** Puts the views of all nodes together. */
import { ordinalOf } from './nodes.mjs';
import { range, rangesOf, SLOTS, sizeOf, slotsOf } from './slots.mjs';

const ABSENT_MS = 5000; // no host name exists for so long: there is no cluster yet
const HOPELESS_MS = 30000; // no pod answers for so long: a deployment that may mend them must not wait for this program

/** @typedef {import('./nodes.mjs').Seen} Seen */
/** @typedef {import('./nodes.mjs').Config} Config */

/** @type {(pod: Seen) => import('./nodes.mjs').Entry} */
export const self = (pod) => pod.nodes.find(({ id }) => id === pod.id);
/** @type {(pod: Seen, id: string) => import('./nodes.mjs').Entry | undefined} */
export const entryOf = (pod, id) => pod.nodes.find((entry) => entry.id === id);
const knows = (a, b) => Boolean(entryOf(a, b.id) || entryOf(b, a.id));

export function groupsOf(pods, linked) {
  const groups = [];
  for (const pod of pods) {
    const touching = groups.filter((group) => group.some((other) => linked(pod, other)));
    const group = [pod, ...touching.flat()];
    groups.splice(0, groups.length, ...groups.filter((other) => !touching.includes(other)), group);
  }
  return groups.map((group) => group.toSorted((a, b) => a.ordinal - b.ordinal));
}

/**
 * The cluster by all views. `members` are the answering nodes of the one cluster there is (or is to be): of the
 * groups that hold slots one whose nodes know each other, then the one that holds most. `strangers` hold keys or slots
 * and are not part of it. `identities` are all nodes that any member knows: {id, ordinal, pod if it answers, master,
 * ranges, size, epoch, gone, replaced: its host has another identity now, without keys, stranger: its host's identity
 * now, if that is one}.
 * @param {Config} config
 * @param {Seen[]} seen
 */
export function survey(config, seen) {
  const live = seen.filter(({ absent }) => !absent);
  const wanted = live.filter(({ ordinal }) => ordinal < config.pods);
  const groups = groupsOf(live, knows);
  const others = (pod) => pod.nodes.filter(({ id, flags }) => id !== pod.id && !flags.includes('handshake'));
  const held = (group) => sizeOf(group.flatMap((pod) => self(pod).ranges));
  const founded = groups
    .filter((group) => group.some(({ nodes }) => nodes.some(({ ranges }) => ranges.length)))
    .toSorted(
      (a, b) =>
        b.some((pod) => others(pod).length) - a.some((pod) => others(pod).length) ||
        b.length - a.length ||
        held(b) - held(a) ||
        b[0].keys - a[0].keys,
    );
  const members = founded[0] ?? groups.find((group) => group.includes(wanted[0])) ?? [];
  const byId = new Map(live.map((pod) => [pod.id, pod]));
  const byOrdinal = new Map(seen.map((pod) => [pod.ordinal, pod]));
  const strangers = live.filter((pod) => !members.includes(pod) && (pod.keys > 0 || self(pod).ranges.length));

  const identities = new Map();
  for (const member of members) {
    for (const entry of member.nodes) {
      if (entry.flags.includes('handshake')) continue;
      const known = identities.get(entry.id) ?? { id: entry.id, host: '', master: null, ranges: [], epoch: 0 };
      const truth = byId.has(entry.id) ? self(byId.get(entry.id)) : entry;
      if (truth.host) known.host = truth.host;
      known.epoch = Math.max(known.epoch, truth.epoch ?? 0);
      if (truth.master) known.master = truth.master;
      if (truth.ranges.length) known.ranges = truth.ranges;
      identities.set(entry.id, known);
    }
  }
  for (const known of identities.values()) {
    known.pod = byId.get(known.id);
    known.ordinal = known.pod?.ordinal ?? ordinalOf(config, known.host);
    const there = byOrdinal.get(known.ordinal);
    known.stranger = strangers.find((pod) => !known.pod && pod === there);
    known.replaced = !known.pod && !known.stranger && Boolean(there?.id);
    if (known.replaced) {
      // what its successor has claimed is not lost, although the others have yet to hear of it
      const claimed = new Set(slotsOf(self(there).ranges));
      known.ranges = rangesOf(slotsOf(known.ranges).filter((slot) => !claimed.has(slot)));
    }
    known.size = sizeOf(known.ranges);
    known.gone = !known.pod && known.ordinal >= config.pods && there?.gone === true;
  }
  const opinion = ({ nodes }) =>
    nodes
      .filter(({ ranges }) => ranges.length)
      .map(({ id, ranges }) => `${id} ${ranges}`)
      .sort()
      .join(';');
  const owned = new Set([...identities.values()].flatMap(({ ranges }) => slotsOf(ranges)));
  return {
    live,
    wanted,
    founded,
    members,
    strangers,
    others,
    identities: [...identities.values()],
    absent: seen.filter(({ absent, ordinal }) => absent && ordinal < config.pods),
    outsiders: wanted.filter((pod) => !members.includes(pod)),
    agreed: new Set(members.map(opinion)).size <= 1,
    free: range(SLOTS).filter((slot) => !owned.has(slot)),
    get: (id) => identities.get(id),
    replicasOf: (id) =>
      [...identities.values()].filter(({ master, replaced, gone }) => master === id && !replaced && !gone),
    stays: ({ ordinal, replaced }) => ordinal < config.pods && !replaced,
  };
}

/**
 * The answers for the health: do nodes beyond the wanted number hold slots, and is every slot served?
 * @param {Config} config
 * @param {Seen[]} seen
 */
export function judge(config, seen) {
  const world = survey(config, seen);
  const serving = new Set(world.members.filter(({ ok }) => ok).flatMap((pod) => slotsOf(self(pod).ranges)));
  return {
    answering: world.live.length,
    surplus: world.identities.some(({ ordinal, size, replaced }) => ordinal >= config.pods && size > 0 && !replaced),
    served: world.agreed && serving.size === SLOTS && !world.strangers.length,
  };
}

/**
 * True if the StatefulSet may get the wanted number of pods.
 * @param {{ answering: number, surplus: boolean, absent?: number, silent?: number }} state since when, in ms, no host
 *   name exists, and no pod answers
 * @param {number} now
 */
export function mayShrink(state, now) {
  if (state.answering) return !state.surplus;
  return now - (state.absent ?? now) > ABSENT_MS || now - (state.silent ?? now) > HOPELESS_MS;
}
