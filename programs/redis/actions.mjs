/** Carries out steps on the nodes. */
import { setTimeout as sleep } from 'node:timers/promises';

import { RedisError } from '../lib/redis.mjs';
import { HANDSHAKE_MS } from './identity-rules.mjs';
import { CLIENT, parseNodes } from './nodes.mjs';
import { sizeOf } from './slots.mjs';

const MIGRATE_MS = 10000;
const SLOTS_AT_ONCE = 32; // in the state `migrating`, in which commands with several keys may get TRYAGAIN
const KEYS_AT_ONCE = 64;
const OPEN = ['ACL', 'SETUSER', 'default', '+psync', '+sync'];

/** Two instances that move the same slot to different nodes would split its keys: only the first by name moves. */
async function alone(instance, pod) {
  const clients = await pod.connection.text('CLIENT', 'LIST');
  const others = [...clients.matchAll(new RegExp(`name=${CLIENT}/(\\S+)`, 'g'))].map((match) => match[1]);
  if (others.some((other) => other < instance)) throw new RedisError('another instance of this program is at work');
}

async function move(config, instance, { slots, from, to }) {
  await alone(instance, from);
  for (let i = 0; i < slots.length; i += SLOTS_AT_ONCE) {
    const batch = slots.slice(i, i + SLOTS_AT_ONCE);
    const setAll = (pod, ...state) =>
      Promise.all(batch.map((slot) => pod.connection.send('CLUSTER', 'SETSLOT', slot, ...state)));
    await setAll(to, 'IMPORTING', from.id);
    await setAll(from, 'MIGRATING', to.id);
    for (const slot of batch) {
      const next = () => from.connection.send('CLUSTER', 'GETKEYSINSLOT', slot, KEYS_AT_ONCE);
      for (let keys = await next(); keys.length; keys = await next()) {
        // REPLACE: a copy at the target is left of an interrupted MIGRATE; until the slot is handed over, the source's
        // is newer.
        await from.connection.send(
          'MIGRATE',
          to.address,
          config.port,
          '',
          0,
          MIGRATE_MS,
          'REPLACE',
          'AUTH',
          config.password,
          'KEYS',
          ...keys,
        );
      }
    }
    await setAll(to, 'NODE', to.id); // first, so that the slot never is without a node
    await setAll(from, 'NODE', to.id);
  }
}

/**
 * While it is alone, nobody contradicts what it claims; the epoch makes the others believe it. Of `older` slots others
 * have newer keys. Of `moving` ones it has keys that another node handed over: that move will be finished.
 */
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
    const known = parseNodes(await on.connection.text('CLUSTER', 'NODES')).filter(
      ({ flags }) => !flags.includes('handshake'),
    );
    if (moving.every(([, id]) => known.some((entry) => entry.id === id))) break;
    await sleep(100);
  }
  for (const [slot, id] of moving) await command('CLUSTER', 'SETSLOT', slot, 'IMPORTING', id);
}

export async function perform(config, instance, step) {
  const { action, on, by, peers, master, id, slot, ranges } = step;
  const command = (...words) => on.connection.send(...words);
  switch (action) {
    case 'meet':
      return Promise.all(peers.map(({ address }) => command('CLUSTER', 'MEET', address, config.port)));
    case 'forget':
      return Promise.all(by.map(({ connection }) => connection.send('CLUSTER', 'FORGET', id)));
    case 'replicate':
      return command('CLUSTER', 'REPLICATE', master.id);
    case 'failover':
      return command('CLUSTER', 'FAILOVER');
    case 'election':
      return command('CLUSTER', 'FAILOVER', 'FORCE'); // its master need not agree, most masters must
    case 'takeover':
      return command('CLUSTER', 'FAILOVER', 'TAKEOVER');
    case 'renew': // which empties a replica's memory, but not its append-only file: FLUSHALL does
      return command('CLUSTER', 'RESET', 'HARD').then(() => command('FLUSHALL'));
    case 'open':
      return command(...OPEN);
    case 'drop': // a master is reset only when it is empty
      return command('FLUSHALL').then(() => command('CLUSTER', 'RESET', 'HARD'));
    case 'claim':
      return claim(config, step);
    case 'stable':
      return command('CLUSTER', 'SETSLOT', slot, 'STABLE');
    case 'assign': // with a new epoch, so that the claim holds against whoever remembers an older one
      return command('CLUSTER', 'ADDSLOTSRANGE', ...ranges.flat()).then(() => command('CLUSTER', 'BUMPEPOCH'));
    case 'move':
      return move(config, instance, step);
    default:
      throw new Error(`no action ${action}`);
  }
}

/**
 * A step as the log tells it.
 * @param {any} step
 */
export const describe = ({ action, on, by, peers, master, id, host, from, to, slots, slot, ranges, why }) => ({
  action,
  node: on?.host,
  by: by?.map((pod) => pod.host),
  peers: peers?.map((peer) => `${peer.host} ${peer.address}`),
  master: master?.host,
  id,
  host,
  from: from?.host,
  to: to?.host,
  slot,
  slots: slots?.length ?? (ranges && sizeOf(ranges)),
  why,
});
