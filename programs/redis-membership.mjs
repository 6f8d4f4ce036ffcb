// Membership of the Redis Cluster: makes the nodes that run in the StatefulSet's pods one cluster, and keeps it so.
//
// Every second it looks at all pods (host name -> address -> CLUSTER NODES), decides by pure rules (`plan`) what has
// to be done next, and does it. It keeps no state: what it knows is what the nodes answer. The rules, in order:
//
//   introduce     a node that has another address than its peers know, or that is new and empty, is introduced
//   strangers     a node that lost its nodes.conf and still has its keys is alone and claims the slots of these keys. It
//                 gets back the slots of the identity that its host name had, unless a replica has more keys; its keys
//                 of slots that others serve by now are an older copy, which it drops
//   lost          a host name that answers with a new identity has lost its volume: a replica of the old identity is
//                 made to take over; without any replica the old identity is forgotten, and its slots become free
//   forget        the identity of a pod that is gone for good is forgotten
//   open          a node with a new identity may be replicated, as soon as no replica follows its old one
//   follow        a replica that follows an old address of its master is pointed to the new one
//   open slots    an interrupted move of a slot is finished
//   masters       surplus masters hand over to a replica that stays; missing masters are made of empty nodes or of
//                 spare replicas
//   replicas      every other node replicates the master that has the fewest replicas
//   free slots    slots that no node holds are given to the masters (this also creates the cluster)
//   balance       slots move, with their keys, until every master holds the same number and leaving nodes hold none
//
// Nothing here deletes the only copy of something: a node is reset only when it is empty, when it is a replica whose
// master has another one in step (or shall have none), or when another node serves all that it has. What needs a person
// is said in the log as {"event":"waiting",...}, and by GET /served; the other nodes are healed meanwhile.
//
// Environment, all of it needed:
//   POD_IP                      where HTTP is served
//   HTTP_PORT                   GET /livez   200 while the loop turns
//                                   /readyz  200 when no node beyond the wanted number holds slots: the StatefulSet
//                                            may shrink to REDIS_MASTERS * (1 + REDIS_REPLICAS_PER_MASTER)
//                                   /served  200 when all slots are served and no node with keys is outside; else
//                                           503, and what is waited for
//   REDIS_STATEFUL_SET          the pods are <this>-<ordinal>
//   REDIS_PEER_DOMAIN           and their host names <pod>.<this>
//   REDIS_PORT                  of every node; the cluster bus has this one + 10000
//   REDIS_MASTERS               wanted number of masters
//   REDIS_REPLICAS_PER_MASTER   wanted number of replicas of each
//   REDIS_PASSWORD_FILE         one line

import { randomUUID } from 'node:crypto';
import { lookup } from 'node:dns/promises';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

const SLOTS = 16384;
const LOOK_MS = 2000; // for one node to answer everything that is asked of it
const COMMAND_MS = 20000; // for one command; MIGRATE itself gives up after MIGRATE_MS
const MIGRATE_MS = 10000;
const PAUSE_MS = 1000; // between two rounds
const ELECTION_MS = 10000; // for the masters to elect a replica, before it takes over without their votes
const HEIRS_MS = 15000; // for the replicas of a node that lost its identity to answer
const HANDSHAKE_MS = 3000; // for nodes to know each other after they were introduced
const BANNED_MS = 65000; // for which nodes refuse an identity that they were told to forget: a minute, and some more
const SLOTS_A_ROUND = 4096; // moved before the world is looked at again
const SLOTS_AT_ONCE = 32; // in the state `migrating`, in which commands with several keys may get TRYAGAIN
const KEYS_AT_ONCE = 64;
const OPEN = ['ACL', 'SETUSER', 'default', '+psync', '+sync'];
const CLIENT = 'flatline-membership';

const log = (event, fields = {}) => process.stdout.write(`${JSON.stringify({ event, ...fields })}\n`);

// ---- the protocol: RESP2, https://redis.io/docs/latest/develop/reference/protocol-spec/ ------------------------

/** A node that does not answer, or answers with an error. */
export class NodeError extends Error {}

/** [value, offset after it] of the reply that starts at `at`, or undefined while it is incomplete. Bulk strings are
 * Buffers; an error reply is a NodeError. */
export function parseReply(buffer, at = 0) {
  const end = buffer.indexOf('\r\n', at);
  if (end < 0) return undefined;
  const head = buffer.toString('latin1', at + 1, end);
  let next = end + 2;
  switch (String.fromCharCode(buffer[at])) {
    case '+': return [head, next];
    case '-': return [new NodeError(head), next];
    case ':': return [Number(head), next];
    case '$': {
      const length = Number(head);
      if (length < 0) return [null, next];
      return buffer.length < next + length + 2 ? undefined : [buffer.subarray(next, next + length), next + length + 2];
    }
    case '*': {
      const items = [];
      for (let i = 0; i < Number(head); i += 1) {
        const item = parseReply(buffer, next);
        if (!item) return undefined;
        items.push(item[0]);
        next = item[1];
      }
      return [items, next];
    }
    default: throw new NodeError('not a Redis server');
  }
}

export function encodeCommand(words) {
  const parts = [`*${words.length}\r\n`];
  for (const word of words) {
    const bytes = Buffer.isBuffer(word) ? word : Buffer.from(String(word));
    parts.push(`$${bytes.length}\r\n`, bytes, '\r\n');
  }
  return Buffer.concat(parts.map((part) => (Buffer.isBuffer(part) ? part : Buffer.from(part))));
}

class Connection {
  #socket;
  #pending = [];
  #buffer = Buffer.alloc(0);

  constructor(address, port) {
    this.#socket = connect({ host: address, port });
    this.#socket.on('data', (data) => this.#receive(data));
    this.#socket.on('error', (error) => this.#fail(error.code ?? error.message));
    this.#socket.on('close', () => this.#fail('connection closed'));
  }

  #receive(data) {
    this.#buffer = Buffer.concat([this.#buffer, data]);
    try {
      for (let reply = parseReply(this.#buffer); reply; reply = parseReply(this.#buffer)) {
        this.#buffer = this.#buffer.subarray(reply[1]);
        const { resolve, reject } = this.#pending.shift();
        if (reply[0] instanceof NodeError) reject(reply[0]);
        else resolve(reply[0]);
      }
    } catch (error) {
      this.#fail(error.message);
    }
  }

  #fail(reason) {
    this.#socket.destroy();
    for (const { reject } of this.#pending.splice(0)) reject(new NodeError(reason));
  }

  /** The reply to one command. Commands may overlap: they are answered in order. */
  send(...words) {
    return new Promise((resolve, reject) => {
      if (this.#socket.destroyed) {
        reject(new NodeError('connection closed'));
        return;
      }
      const timer = setTimeout(() => this.#fail('no answer in time'), COMMAND_MS);
      const done = (settle) => (value) => {
        clearTimeout(timer);
        settle(value);
      };
      this.#pending.push({ resolve: done(resolve), reject: done(reject) });
      this.#socket.write(encodeCommand(words));
    });
  }

  async text(...words) {
    return String(await this.send(...words));
  }

  close() {
    this.#fail('closed');
  }
}

// ---- looking ----------------------------------------------------------------------------------------------------

/** One entry per line of CLUSTER NODES:
 * {id, address, host, flags, master, epoch, ranges: [[from, to]...], open: [{slot, to|from: id}...]}. */
export function parseNodes(text) {
  return text.split('\n').filter((line) => line.trim()).map((line) => {
    const [id, endpoint, flags, master, , , epoch, , ...slots] = line.trim().split(' ');
    const [address, host = ''] = endpoint.split(',');
    const entry = { id, address: address.slice(0, address.lastIndexOf(':')), host, flags: flags.split(','), master: master === '-' ? null : master, epoch: Number(epoch), ranges: [], open: [] };
    for (const item of slots) {
      const moving = /^\[(\d+)-([<>])-([0-9a-f]+)\]$/.exec(item);
      if (moving) entry.open.push({ slot: Number(moving[1]), [moving[2] === '>' ? 'to' : 'from']: moving[3] });
      else entry.ranges.push([Number(item.split('-')[0]), Number(item.split('-').at(-1))]);
    }
    return entry;
  });
}

const field = (info, name) => new RegExp(`^${name}:(.*)$`, 'm').exec(info)?.[1].trim();
const within = (promise, ms, reason) => {
  const timer = new AbortController();
  const late = sleep(ms, undefined, { signal: timer.signal }).then(() => { throw new NodeError(reason); }, () => undefined);
  return Promise.race([promise, late]).finally(() => timer.abort());
};

/** What the pod of this ordinal says of itself, with an open connection to it; or {ordinal, host, absent: the reason,
 * gone: whether its host name does not exist}. */
async function look(config, instance, ordinal) {
  const host = hostOf(config, ordinal);
  let connection;
  try {
    const { address } = await within(lookup(host), LOOK_MS, 'no answer from DNS');
    connection = new Connection(address, config.port);
    const asked = [
      connection.text('AUTH', config.password),
      connection.text('CLIENT', 'SETNAME', `${CLIENT}/${instance}`),
      connection.text('CLUSTER', 'NODES'),
      connection.text('CLUSTER', 'INFO'),
      connection.text('INFO', 'replication'),
      connection.send('DBSIZE'),
      connection.send('CONFIG', 'GET', 'cluster-announce-hostname'),
      connection.send('ACL', 'GETUSER', 'default'),
    ];
    const [, , nodes, cluster, replication, keys, announced, user] = await within(Promise.all(asked), LOOK_MS, 'no answer in time');
    // An address may have passed on to another pod since the name server heard of it.
    if (String(announced[1]) !== host) throw new NodeError(`${address} is another host`);
    const entries = parseNodes(nodes);
    return {
      ordinal, host, address, connection, keys, nodes: entries,
      id: entries.find(({ flags }) => flags.includes('myself')).id,
      ok: field(cluster, 'cluster_state') === 'ok',
      epoch: Number(field(cluster, 'cluster_current_epoch')),
      closed: / -psync/.test(String(user[user.findIndex((word) => String(word) === 'commands') + 1])),
      linked: field(replication, 'master_link_status') === 'up',
      follows: field(replication, 'master_host'),
      offset: Number(field(replication, 'slave_repl_offset') ?? 0),
    };
  } catch (error) {
    connection?.close();
    if (!(error instanceof NodeError) && error.syscall !== 'getaddrinfo') throw error;
    return { ordinal, host, absent: error.code ?? error.message, gone: error.code === 'ENOTFOUND' };
  }
}

const hostOf = ({ statefulSet, domain }, ordinal) => `${statefulSet}-${ordinal}.${domain}`;
const ordinalOf = ({ statefulSet, domain }, host) => {
  if (!host.startsWith(`${statefulSet}-`) || !host.endsWith(`.${domain}`)) return undefined;
  const ordinal = host.slice(statefulSet.length + 1, -domain.length - 1);
  return /^\d+$/.test(ordinal) ? Number(ordinal) : undefined;
};
const range = (n) => Array.from({ length: n }, (_, i) => i);

/** All wanted pods, and those beyond them that any of these knows by name. */
async function lookAtAll(config, instance) {
  const wanted = await Promise.all(range(config.pods).map((ordinal) => look(config, instance, ordinal)));
  const known = wanted.flatMap(({ nodes = [] }) => nodes.map(({ host }) => ordinalOf(config, host)));
  const beyond = [...new Set(known)].filter((ordinal) => ordinal >= config.pods);
  return [...wanted, ...await Promise.all(beyond.map((ordinal) => look(config, instance, ordinal)))];
}

// ---- understanding ----------------------------------------------------------------------------------------------

const sizeOf = (ranges) => ranges.reduce((sum, [from, to]) => sum + to - from + 1, 0);
const slotsOf = (ranges) => ranges.flatMap(([from, to]) => range(to - from + 1).map((i) => from + i));
const self = (pod) => pod.nodes.find(({ id }) => id === pod.id);
const entryOf = (pod, id) => pod.nodes.find((entry) => entry.id === id);
const knows = (a, b) => Boolean(entryOf(a, b.id) || entryOf(b, a.id));
const fewest = (items, ...keys) => items.toSorted((a, b) => keys.map((key) => key(a) - key(b)).find((d) => d) ?? 0)[0];

function groupsOf(pods, linked) {
  const groups = [];
  for (const pod of pods) {
    const touching = groups.filter((group) => group.some((other) => linked(pod, other)));
    const group = [pod, ...touching.flat()];
    groups.splice(0, groups.length, ...groups.filter((other) => !touching.includes(other)), group);
  }
  return groups.map((group) => group.toSorted((a, b) => a.ordinal - b.ordinal));
}

/** What all views together say. `members` are the answering nodes of the one cluster there is (or is to be): of the
 * groups that hold slots one whose nodes know each other, then the one that holds most. `strangers` hold keys or slots and are not part of it. `identities` are
 * all nodes that any member knows: {id, ordinal, pod if it answers, master, ranges, size, epoch, gone,
 * replaced: its host has another identity now, without keys, stranger: its host's identity now, if that is one}. */
function survey(config, seen) {
  const live = seen.filter(({ absent }) => !absent);
  const wanted = live.filter(({ ordinal }) => ordinal < config.pods);
  const groups = groupsOf(live, knows);
  const others = (pod) => pod.nodes.filter(({ id, flags }) => id !== pod.id && !flags.includes('handshake'));
  const held = (group) => sizeOf(group.flatMap((pod) => self(pod).ranges));
  const founded = groups.filter((group) => group.some(({ nodes }) => nodes.some(({ ranges }) => ranges.length)))
    .toSorted((a, b) => b.some((pod) => others(pod).length) - a.some((pod) => others(pod).length) || b.length - a.length || held(b) - held(a) || b[0].keys - a[0].keys);
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
    if (known.replaced) { // what its successor has claimed is not lost, although the others have yet to hear of it
      const claimed = new Set(slotsOf(self(there).ranges));
      known.ranges = rangesOf(slotsOf(known.ranges).filter((slot) => !claimed.has(slot)));
    }
    known.size = sizeOf(known.ranges);
    known.gone = !known.pod && known.ordinal >= config.pods && there?.gone === true;
  }
  const opinion = ({ nodes }) => nodes.filter(({ ranges }) => ranges.length).map(({ id, ranges }) => `${id} ${ranges}`).sort().join(';');
  const owned = new Set([...identities.values()].flatMap(({ ranges }) => slotsOf(ranges)));
  return {
    live, wanted, founded, members, strangers, others, identities: [...identities.values()],
    absent: seen.filter(({ absent, ordinal }) => absent && ordinal < config.pods),
    outsiders: wanted.filter((pod) => !members.includes(pod)),
    agreed: new Set(members.map(opinion)).size <= 1,
    free: range(SLOTS).filter((slot) => !owned.has(slot)),
    get: (id) => identities.get(id),
    replicasOf: (id) => [...identities.values()].filter(({ master, replaced, gone }) => master === id && !replaced && !gone),
    stays: ({ ordinal, replaced }) => ordinal < config.pods && !replaced,
  };
}

/** Whether nodes beyond the wanted number hold slots, and whether every slot is served. */
export function judge(config, seen) {
  const world = survey(config, seen);
  const serving = new Set(world.members.filter(({ ok }) => ok).flatMap((pod) => slotsOf(self(pod).ranges)));
  return {
    answering: world.live.length,
    surplus: world.identities.some(({ ordinal, size, replaced }) => ordinal >= config.pods && size > 0 && !replaced),
    served: world.agreed && serving.size === SLOTS && !world.strangers.length,
  };
}

// ---- deciding ---------------------------------------------------------------------------------------------------
// A rule gives undefined (nothing to do: the next rule), {actions: [...]} or {waiting: what for}.

const act = (actions) => (actions.length ? { actions } : undefined);
const wait = (waiting) => ({ waiting });

/** Members that know each other, as far as they hold most of the slots. A member outside of it knows the others but was
 * forgotten by them (or is being introduced just now). For a minute nodes would forget it again whenever one of them
 * takes it back, so it gets a new identity, unless it may hold the only copy of something: then that minute is waited. */
function coreOf({ members, founded }) {
  const groups = groupsOf(members, (a, b) => entryOf(a, b.id) && entryOf(b, a.id));
  return founded.length ? fewest(groups, (group) => -sizeOf(group.flatMap((pod) => self(pod).ranges))) : members;
}

function introduce(config, world, since) {
  if (!world.founded.length) {
    if (world.absent.length) return wait(`to create the cluster: ${world.absent.map(({ host, absent }) => `${host} (${absent})`)}`);
    const kept = world.wanted.filter(({ keys }) => keys > 0);
    if (kept.length) return wait(`${kept.map(({ host }) => host)} hold keys but no slots; remove them by hand if they are worthless`);
  }
  const core = coreOf(world);
  const forgotten = world.members.filter((pod) => pod.ordinal < config.pods && !core.includes(pod))
    .map((pod) => ({ pod, age: since(`forgotten ${pod.id}`), only: self(pod).ranges.length || (pod.keys && !world.get(self(pod).master)?.pod) }));
  const newcomers = world.outsiders.filter((pod) => !world.strangers.includes(pod));
  const taken = forgotten.filter(({ age }) => age > BANNED_MS).map(({ pod }) => pod);
  const meetings = [...core, ...taken, ...newcomers].map((pod) => ({
    action: 'meet', on: pod, peers: [...core, ...taken].filter((peer) => peer !== pod && entryOf(pod, peer.id)?.address !== peer.address),
  })).filter(({ peers }) => peers.length);
  if (meetings.length) return act(meetings);
  const renewed = forgotten.filter(({ age, only }) => age > HANDSHAKE_MS && !only);
  if (renewed.length) return act(renewed.map(({ pod }) => ({ action: 'renew', on: pod, why: 'the others have forgotten it' })));
  return forgotten.length ? wait(`${forgotten.map(({ pod }) => pod.host)} to be known to the others`) : undefined;
}

/** A stranger that lost its identity knows nobody, and has from Redis the slots of its keys, and no epoch. One that has an
 * epoch was introduced a moment ago. One after the other, that with most keys first: two may have the same keys. */
function strangers(config, world, since) {
  const ownerOf = new Map(world.identities.flatMap((one) => slotsOf(one.ranges).map((slot) => [slot, one])));
  const left = []; // what is said of those that are left alone
  if (world.strangers.length && world.absent.length && !world.members.some((pod) => world.others(pod).length) && since('founding') < HEIRS_MS) {
    return wait(`${world.absent.map(({ host }) => host)}, which may know the cluster`);
  }
  for (const pod of world.strangers.toSorted((a, b) => Boolean(self(b).epoch) - Boolean(self(a).epoch) || b.keys - a.keys)) {
    const dead = world.others(pod).filter(({ id, host }) => world.live.some((one) => one.host === host && one.id !== id));
    if (dead.length && dead.length === world.others(pod).length) { // those who came back found each other without this one
      return act(dead.map(({ id, host }) => ({ action: 'forget', by: [pod], id, host, why: 'it has another identity now' })));
    }
    const { epoch, ranges } = self(pod);
    const claimed = slotsOf(ranges);
    const owners = new Set(claimed.map((slot) => ownerOf.get(slot)).filter(Boolean));
    const stronger = [...owners].every((one) => !one.pod && one.epoch < epoch);
    if (world.others(pod).length || !claimed.length || !(epoch === 0 || stronger)) {
      left.push(`${pod.host} holds keys or slots but is not known to the cluster. To do: if they are worthless, empty its volume and restart it`);
      continue;
    }
    const mine = world.identities.filter((one) => one.stranger === pod || (owners.has(one) && (one.replaced || one.stranger?.keys < pod.keys)));
    const owed = [...owners].filter((one) => !one.pod && !mine.includes(one));
    if (owed.length) {
      left.push(`${owed.map(({ host }) => host)} to return; ${pod.host} has keys of its slots`);
      continue;
    }
    const heirs = mine.filter(({ size }) => size).flatMap(({ id }) => world.replicasOf(id));
    const late = heirs.filter((heir) => !heir.pod && !heir.stranger);
    if (late.length && since(`heirs ${pod.id}`) < HEIRS_MS) return wait(`${late.map(({ host }) => host)}, which may have more of the keys of ${pod.host}`);
    const drop = (why) => act([{ action: 'drop', on: pod, why: `${why}; its files are set aside on its volume` }]);
    const elsewhere = claimed.filter((slot) => ownerOf.get(slot)?.pod);
    const moving = new Map(world.members.flatMap((other) => self(other).open.filter(({ to }) => mine.some(({ id }) => id === to)).map(({ slot }) => [slot, other.id])));
    if (elsewhere.length === claimed.length && !elsewhere.some((slot) => moving.has(slot))) return drop('others serve all of its slots');
    if (heirs.some((heir) => heir.pod?.keys > pod.keys)) return drop('a replica has more of its keys');
    const highest = Math.max(...world.live.flatMap((other) => [other.epoch ?? 0, ...other.nodes.map((entry) => entry.epoch ?? 0)]));
    return act([{
      action: 'claim', on: pod, peers: coreOf(world), epoch: epoch ? undefined : highest + 1, why: 'it lost its identity and has its keys',
      ranges: rangesOf(mine.flatMap((one) => slotsOf(one.ranges)).filter((slot) => !claimed.includes(slot)).toSorted((a, b) => a - b)),
      moving: elsewhere.filter((slot) => moving.has(slot)).map((slot) => [slot, moving.get(slot)]),
      older: elsewhere.filter((slot) => !moving.has(slot)),
    }]);
  }
  if (!left.length) return undefined;
  const clusters = world.founded.length > 1 ? `${world.founded.length} clusters that do not know each other, of ${world.founded.map((group) => group.map(({ ordinal }) => ordinal))}: ` : '';
  return { ...wait(clusters + left.join('; ')), others: true };
}

function lost(config, world, since) {
  for (const old of world.identities.filter(({ replaced, size }) => replaced && size)) {
    const replicas = world.replicasOf(old.id);
    const ready = replicas.filter(({ pod }) => pod);
    if (!replicas.length) return act([forgetting(world, old, `its volume is lost, and no replica has the keys of its ${old.size} slots`)]);
    if (!ready.length) return wait(`${replicas.map(({ host }) => host)} to take over from ${old.host}, which lost its volume`);
    const best = fewest(ready, ({ pod }) => -pod.offset, ({ ordinal }) => ordinal);
    const elected = since(`election ${old.id}`) < ELECTION_MS;
    return act([{ action: elected ? 'election' : 'takeover', on: best.pod, why: `${old.host} lost its volume` }]);
  }
  return undefined;
}

// Everywhere at once, because nodes would hear of it again from each other; not by its replicas, which refuse.
const forgetting = (world, { id, host }, why) => ({
  action: 'forget', by: world.members.filter((pod) => entryOf(pod, id) && self(pod).master !== id), id, host, why,
});

function forget(config, world) {
  const useless = world.identities.filter(({ pod, size, replaced, gone, host }) =>
    !pod && !size && (replaced || gone || (!host && !world.absent.length)));
  return act(useless.map((old) => forgetting(world, old, old.replaced ? 'its pod has another identity now' : 'its pod is gone')).filter(({ by }) => by.length));
}

function follow(config, world) {
  const astray = world.members.filter((pod) => {
    const master = self(pod).master && world.get(self(pod).master)?.pod;
    return master && !pod.linked && pod.follows !== master.address;
  });
  return act(astray.map((pod) => ({ action: 'replicate', on: pod, master: world.get(self(pod).master).pod, why: 'it follows an old address' })));
}

/** A node with a new identity starts closed: whoever followed the old one by its address would copy the new one's keys,
 * which may be none. It may be followed once nobody follows the old one. */
function open(config, world) {
  const followed = (pod) => world.identities.some((one) => one.replaced && one.ordinal === pod.ordinal && world.replicasOf(one.id).length);
  return act(world.members.filter((pod) => pod.closed && !followed(pod)).map((pod) => ({ action: 'open', on: pod })));
}

function agree(config, world) {
  if (!world.agreed) return wait('the nodes to agree on who holds which slots');
  const down = world.members.filter(({ ok }) => !ok);
  return down.length && !world.free.length ? wait(`${down.map(({ host }) => host)} to take part`) : undefined;
}

function openSlots(config, world) {
  const stable = [];
  const moves = new Map();
  const ownerOf = (slot) => world.identities.find(({ ranges }) => ranges.some(([from, to]) => from <= slot && slot <= to));
  const standIn = (id) => { // the master that has the data of this node now
    const known = world.get(id);
    return known?.master ? world.get(known.master) : known;
  };
  for (const pod of world.members) {
    for (const { slot, to, from } of self(pod).open) {
      const owner = ownerOf(slot);
      const target = to ? standIn(to) : world.get(pod.id);
      const own = owner?.id === pod.id;
      if (to ? !own || !target || owner === target : own || !owner) {
        stable.push({ action: 'stable', on: pod, slot, why: `the move of slot ${slot} ${to ? 'to' : 'from'} ${to ?? from} is over` });
      } else if (owner.pod && target.pod) { // both ends may tell of it; the target may hold keys that the owner lacks
        moves.set(slot, [owner.pod, target.pod]);
      } else {
        return wait(`${(owner.pod ? target : owner).host}, to finish moving slot ${slot}`);
      }
    }
  }
  const pairs = Map.groupBy(moves, ([, ends]) => ends.map(({ id }) => id).join());
  return act([...stable, ...Array.from(pairs.values(), (group) => {
    const [from, to] = group[0][1];
    return { action: 'move', slots: group.map(([slot]) => slot), from, to, why: 'it was interrupted' };
  })]);
}

/** The identities that should be masters: those that hold slots and stay, by ordinal; then empty nodes. */
function mastersOf(config, world) {
  const staying = world.identities.filter(world.stays).toSorted((a, b) => a.ordinal - b.ordinal);
  const holding = staying.filter(({ size }) => size);
  const empty = staying.filter(({ pod, size, master }) => pod && !size && !master && !pod.keys);
  return [...holding.slice(0, config.masters), ...empty].slice(0, config.masters);
}

const inStep = (replica) => replica.pod?.linked === true;

function masters(config, world) {
  if (mastersOf(config, world).length >= config.masters) return undefined;
  for (const leaving of world.identities.filter((one) => one.size && one.pod && !world.stays(one))) {
    const heir = world.replicasOf(leaving.id).find((replica) => world.stays(replica) && inStep(replica));
    if (heir) return act([{ action: 'failover', on: heir.pod, why: `${leaving.host} is to leave` }]);
  }
  if (world.absent.length || !world.founded.length) return wait(`${world.absent.map(({ host, absent }) => `${host} (${absent})`)}: too few masters`);
  const spare = world.identities
    .filter((one) => one.master && world.stays(one) && one.pod && world.get(one.master)?.pod)
    .map((one) => ({ one, others: world.replicasOf(one.master).filter((other) => other !== one && inStep(other)).length }))
    .filter(({ others }) => others > 0 || config.replicas === 0);
  if (!spare.length) return wait('a spare replica to make a master of');
  const { one } = fewest(spare, ({ others }) => -others, ({ one: { ordinal } }) => -ordinal);
  return act([{ action: 'renew', on: one.pod, why: 'its master has other replicas, and masters are missing' }]);
}

function replicas(config, world) {
  const chosen = mastersOf(config, world);
  const ready = chosen.filter(({ pod }) => pod);
  if (!ready.length) return undefined;
  const followers = new Map(chosen.map(({ id }) => [id, world.replicasOf(id).filter(world.stays)]));
  // StatefulSets spread pods in turn: the neighbour of another master's ordinal is most likely on another machine.
  const distance = (master, one) => ({ [(one.ordinal + config.masters - 1) % config.masters]: 0, [one.ordinal % config.masters]: 2 })[master.ordinal % config.masters] ?? 1;
  const pick = (one) => fewest(ready, ({ id }) => followers.get(id).length, (master) => distance(master, one), ({ ordinal }) => ordinal);
  const actions = [];
  const assign = (one, why) => {
    const master = pick(one);
    followers.get(master.id).push(one);
    actions.push({ action: 'replicate', on: one.pod, master: master.pod, why });
  };
  const idle = world.identities.filter((one) => one.pod && !one.size && world.stays(one) && !chosen.includes(one))
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
  return new Map(chosen.toSorted((a, b) => b.size - a.size || a.ordinal - b.ordinal)
    .map((one, i) => [one, share + (i < SLOTS % chosen.length ? 1 : 0)]));
}

const rangesOf = (slots) => slots.reduce((ranges, slot) => {
  if (ranges.at(-1)?.[1] === slot - 1) ranges.at(-1)[1] = slot;
  else ranges.push([slot, slot]);
  return ranges;
}, []);

function freeSlots(config, world) {
  if (!world.free.length || world.strangers.length) return undefined; // a stranger may have the keys of free slots
  if (world.absent.length) return wait(`${world.absent.map(({ host, absent }) => `${host} (${absent})`)}: ${world.free.length} slots are free`);
  const chosen = mastersOf(config, world);
  const left = [...world.free];
  const actions = [];
  for (const [one, quota] of quotas(chosen)) {
    const given = left.splice(0, Math.max(0, quota - one.size));
    if (given.length) actions.push({ action: 'assign', on: one.pod, ranges: rangesOf(given) });
  }
  return act(actions);
}

function balance(config, world) {
  const chosen = mastersOf(config, world);
  const wanted = quotas(chosen);
  const surplus = world.identities.filter((one) => one.size > (wanted.get(one) ?? 0))
    .map((one) => ({ one, slots: slotsOf(one.ranges).slice(wanted.get(one) ?? 0) }));
  const places = [...wanted].filter(([one, quota]) => one.size < quota).map(([one, quota]) => ({ one, room: quota - one.size }));
  if (!surplus.length) return undefined;
  const missing = [...surplus, ...places].filter(({ one }) => !one.pod);
  if (missing.length) return wait(`${missing.map(({ one }) => one.host)}, to balance the slots`);
  const nameless = places.filter((place) => surplus.some(({ one }) => entryOf(one.pod, place.one.id)?.host !== place.one.host));
  if (nameless.length) return wait(`${nameless.map(({ one }) => one.host)} to be known by name`); // clients would be sent to "?"
  const behind = places.flatMap(({ one }) => world.replicasOf(one.id)).filter((replica) => replica.pod && !inStep(replica));
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

const RULES = [introduce, strangers, lost, forget, open, follow, agree, openSlots, masters, replicas, freeSlots, balance];

/** The next step: {rule, actions} or {rule, waiting}, or {} when all is as wanted. `config` has masters, replicas, pods,
 * statefulSet and domain; `seen` is what `look` gave for each pod; `since(key)` tells for how many ms, round after
 * round, this key has been asked for. */
export function plan(config, seen, since) {
  const world = survey(config, seen);
  if (!world.wanted.length) return { rule: 'look', waiting: `any of ${config.pods} pods to answer: ${[...new Set(world.absent.map(({ absent }) => absent))]}` };
  let unknown;
  for (const rule of RULES) {
    const { others, ...step } = rule(config, world, since) ?? {};
    if (others) unknown = { rule: rule.name, ...step };
    else if (step.actions || step.waiting) return unknown && !step.actions ? unknown : { rule: rule.name, ...step };
  }
  if (unknown) return unknown;
  const held = ({ host }) => world.identities.find((one) => one.host === host && one.size)?.size;
  const absence = (pod) => `${pod.host} (${pod.absent})${held(pod) ? `, whose ${held(pod)} slots nobody serves` : ''}`;
  return world.absent.length ? { rule: 'look', waiting: world.absent.map(absence).join(', ') } : {};
}

// ---- doing ------------------------------------------------------------------------------------------------------

/** Two instances that move the same slot to different nodes would split its keys: only the first by name moves. */
async function alone(instance, pod) {
  const clients = await pod.connection.text('CLIENT', 'LIST');
  const others = [...clients.matchAll(new RegExp(`name=${CLIENT}/(\\S+)`, 'g'))].map((match) => match[1]);
  if (others.some((other) => other < instance)) throw new NodeError('another instance of this program is at work');
}

async function move(config, instance, { slots, from, to }) {
  await alone(instance, from);
  for (let i = 0; i < slots.length; i += SLOTS_AT_ONCE) {
    const batch = slots.slice(i, i + SLOTS_AT_ONCE);
    const setAll = (pod, ...state) => Promise.all(batch.map((slot) => pod.connection.send('CLUSTER', 'SETSLOT', slot, ...state)));
    await setAll(to, 'IMPORTING', from.id);
    await setAll(from, 'MIGRATING', to.id);
    for (const slot of batch) {
      const next = () => from.connection.send('CLUSTER', 'GETKEYSINSLOT', slot, KEYS_AT_ONCE);
      for (let keys = await next(); keys.length; keys = await next()) {
        // REPLACE: a copy at the target is left of an interrupted MIGRATE; until the slot is handed over, the source's is newer.
        await from.connection.send('MIGRATE', to.address, config.port, '', 0, MIGRATE_MS, 'REPLACE', 'AUTH', config.password, 'KEYS', ...keys);
      }
    }
    await setAll(to, 'NODE', to.id); // first, so that the slot never is without a node
    await setAll(from, 'NODE', to.id);
  }
}

/** While it is alone, nobody contradicts what it claims; the epoch makes the others believe it. Of `older` slots others have
 * newer keys. Of `moving` ones it has keys that another node handed over: that move will be finished. */
async function claim(config, { on, ranges, epoch, moving, older, peers }) {
  const command = (...words) => on.connection.send(...words);
  await command(...OPEN); // the replicas of its old identity will be its own
  for (const slot of older) {
    const next = () => command('CLUSTER', 'GETKEYSINSLOT', slot, KEYS_AT_ONCE);
    for (let keys = await next(); keys.length; keys = await next()) await command('UNLINK', ...keys);
  }
  const given = [...older, ...moving.map(([slot]) => slot)];
  if (given.length) await command('CLUSTER', 'DELSLOTS', ...given);
  if (ranges.length) await command('CLUSTER', 'ADDSLOTSRANGE', ...ranges.flat());
  if (epoch) await command('CLUSTER', 'SET-CONFIG-EPOCH', epoch);
  await Promise.all(peers.map(({ address }) => command('CLUSTER', 'MEET', address, config.port)));
  for (let left = HANDSHAKE_MS; moving.length && left > 0; left -= 100) {
    const known = parseNodes(await on.connection.text('CLUSTER', 'NODES')).filter(({ flags }) => !flags.includes('handshake'));
    if (moving.every(([, id]) => known.some((entry) => entry.id === id))) break;
    await sleep(100);
  }
  for (const [slot, id] of moving) await command('CLUSTER', 'SETSLOT', slot, 'IMPORTING', id);
}

async function perform(config, instance, step) {
  const { action, on, by, peers, master, id, slot, ranges } = step;
  const command = (...words) => on.connection.send(...words);
  switch (action) {
    case 'meet': return Promise.all(peers.map(({ address }) => command('CLUSTER', 'MEET', address, config.port)));
    case 'forget': return Promise.all(by.map(({ connection }) => connection.send('CLUSTER', 'FORGET', id)));
    case 'replicate': return command('CLUSTER', 'REPLICATE', master.id);
    case 'failover': return command('CLUSTER', 'FAILOVER');
    case 'election': return command('CLUSTER', 'FAILOVER', 'FORCE'); // its master need not agree, most masters must
    case 'takeover': return command('CLUSTER', 'FAILOVER', 'TAKEOVER');
    case 'renew': // which empties a replica's memory, but not its append-only file: FLUSHALL does
      return command('CLUSTER', 'RESET', 'HARD').then(() => command('FLUSHALL'));
    case 'open': return command(...OPEN);
    case 'drop': // a master is reset only when it is empty
      return command('FLUSHALL').then(() => command('CLUSTER', 'RESET', 'HARD'));
    case 'claim': return claim(config, step);
    case 'stable': return command('CLUSTER', 'SETSLOT', slot, 'STABLE');
    case 'assign': // with a new epoch, so that the claim holds against whoever remembers an older one
      return command('CLUSTER', 'ADDSLOTSRANGE', ...ranges.flat()).then(() => command('CLUSTER', 'BUMPEPOCH'));
    case 'move': return move(config, instance, step);
    default: throw new Error(`no action ${action}`);
  }
}

const describe = ({ action, on, by, peers, master, id, host, from, to, slots, slot, ranges, why }) => ({
  action, node: on?.host, by: by?.map((pod) => pod.host), peers: peers?.map((peer) => `${peer.host} ${peer.address}`), master: master?.host, id, host,
  from: from?.host, to: to?.host, slot, slots: slots?.length ?? (ranges && sizeOf(ranges)), why,
});

async function round(config, state) {
  const seen = await lookAtAll(config, state.instance);
  try {
    const asked = new Set();
    const since = (key) => {
      asked.add(key);
      if (!state.clocks.has(key)) state.clocks.set(key, Date.now());
      return Date.now() - state.clocks.get(key);
    };
    Object.assign(state, judge(config, seen));
    state.silent = state.answering ? undefined : state.silent ?? Date.now();
    state.absent = seen.every(({ gone }) => gone) ? state.absent ?? Date.now() : undefined;
    const { rule, actions = [], waiting } = plan(config, seen, since);
    for (const key of state.clocks.keys()) if (!asked.has(key)) state.clocks.delete(key);
    const news = waiting ? `waiting ${rule} ${waiting}` : actions.length ? 'working' : 'complete';
    if (news !== state.news) {
      if (waiting) log('waiting', { rule, for: waiting });
      else if (!actions.length) log('complete', { pods: config.pods, masters: config.masters });
      state.news = news;
    }
    for (const step of actions) {
      log('step', { rule, ...describe(step) });
      try {
        await perform(config, state.instance, step);
      } catch (error) {
        if (!(error instanceof NodeError)) throw error;
        log('failed', { ...describe(step), error: error.message });
      }
      state.turned = Date.now();
    }
    return actions.length > 0;
  } finally {
    for (const { connection } of seen) connection?.close();
  }
}

// ---- running ----------------------------------------------------------------------------------------------------

class Misconfigured extends Error {}

export function readConfig(env) {
  const need = (name, pattern) => {
    if (!pattern.test(env[name] ?? '')) throw new Misconfigured(`${name} must match ${pattern}`);
    return env[name];
  };
  const config = {
    address: need('POD_IP', /^[0-9a-f.:]+$/i),
    httpPort: Number(need('HTTP_PORT', /^\d{1,5}$/)),
    statefulSet: need('REDIS_STATEFUL_SET', /^[a-z0-9-]+$/),
    domain: need('REDIS_PEER_DOMAIN', /^[a-z0-9.-]+$/),
    port: Number(need('REDIS_PORT', /^\d{1,5}$/)),
    masters: Number(need('REDIS_MASTERS', /^[1-9]\d{0,2}$/)),
    replicas: Number(need('REDIS_REPLICAS_PER_MASTER', /^\d$/)),
    password: readFileSync(need('REDIS_PASSWORD_FILE', /./), 'utf8').trim(),
  };
  if (!config.password) throw new Misconfigured(`${env.REDIS_PASSWORD_FILE} is empty`);
  return { ...config, pods: config.masters * (1 + config.replicas) };
}

const ABSENT_MS = 5000; // no host name exists for so long: there is no cluster yet
const HOPELESS_MS = 30000; // no pod answers for so long: a deployment that may mend them must not wait for this program

/** Whether the StatefulSet may get the wanted number of pods. */
export function mayShrink(state, now) {
  if (state.answering) return !state.surplus;
  return now - (state.absent ?? now) > ABSENT_MS || now - (state.silent ?? now) > HOPELESS_MS;
}

function serve(config, state) {
  const answers = {
    '/livez': () => Date.now() - state.turned < 60000,
    '/readyz': () => mayShrink(state, Date.now()),
    '/served': () => state.served,
  };
  const server = createServer((req, res) => {
    const known = req.method === 'GET' && Object.hasOwn(answers, req.url);
    const status = !known ? 404 : answers[req.url]() ? 200 : 503;
    res.writeHead(status, { 'Content-Type': 'text/plain' }).end(`${known ? state.news : 'not found'}\n`);
  });
  server.on('error', (error) => {
    process.stderr.write(`redis-membership: ${error.message}\n`);
    process.exit(1);
  });
  server.listen(config.httpPort, config.address);
}

async function main() {
  const config = readConfig(process.env);
  const now = Date.now();
  const state = { instance: randomUUID(), clocks: new Map(), turned: now, news: 'starting', answering: 0, surplus: false, served: false };
  process.on('SIGTERM', () => process.exit(0)).on('SIGINT', () => process.exit(0));
  serve(config, state);
  log('started', { masters: config.masters, replicas: config.replicas, pods: config.pods });
  for (;;) {
    const worked = await round(config, state);
    state.turned = Date.now();
    await sleep(worked ? PAUSE_MS / 2 : PAUSE_MS);
  }
}

if (import.meta.main) {
  main().catch((error) => {
    process.stderr.write(`redis-membership: ${error instanceof Misconfigured || error.syscall === 'open' ? error.message : error.stack}\n`);
    process.exit(1);
  });
}
