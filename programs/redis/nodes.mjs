/** Asks the nodes: each pod's own view of the cluster, and an open connection to it. */
import { lookup } from 'node:dns/promises';
import { setTimeout as sleep } from 'node:timers/promises';

import { Connection, RedisError } from '../lib/redis.mjs';
import { range } from './slots.mjs';

const LOOK_MS = 2000; // for one node to answer everything that is asked of it
const KNOWN = 'kubernetes.default.svc'; // which every cluster has
const COMMAND_MS = 20000; // for one command; MIGRATE itself gives up before that
export const CLIENT = 'flatline-membership';

/**
 * One line of CLUSTER NODES. `open` are slots whose move began, with the identity at the other end.
 * @typedef {{
 *   id: string, address: string, host: string, flags: string[], master: string | null, epoch: number,
 *   ranges: import('./slots.mjs').Range[], open: { slot: number, to?: string, from?: string }[],
 * }} Entry
 */

/**
 * The configuration of the membership program.
 * @typedef {{
 *   statefulSet: string, domain: string, port: number, masters: number, replicas: number, pods: number,
 *   password: string,
 * }} Config
 */

/** @typedef {any} Seen what `look` tells of a pod */

/**
 * @param {string} text
 * @returns {Entry[]}
 */
export function parseNodes(text) {
  return text
    .split('\n')
    .filter((line) => line.trim())
    .map((line) => {
      const [id, endpoint, flags, master, , , epoch, , ...slots] = line.trim().split(' ');
      const [address, host = ''] = endpoint.split(',');
      /** @type {Entry} */
      const entry = {
        id,
        address: address.slice(0, address.lastIndexOf(':')),
        host,
        flags: flags.split(','),
        master: master === '-' ? null : master,
        epoch: Number(epoch),
        ranges: [],
        open: [],
      };
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
  const late = sleep(ms, undefined, { signal: timer.signal }).then(
    () => {
      throw new RedisError(reason);
    },
    () => undefined,
  );
  return Promise.race([promise, late]).finally(() => timer.abort());
};

/**
 * True if DNS has no such host. A cluster without the internet cannot say so: a name that it does not have might be one
 * of the internet's. There, it counts that DNS has a name of the cluster.
 */
async function isUnknown(error) {
  if (error.code !== 'EAI_AGAIN') return error.code === 'ENOTFOUND';
  const known = within(lookup(KNOWN), LOOK_MS, 'no answer from DNS');
  return known.then(
    () => true,
    () => false,
  );
}

/**
 * The pod of this ordinal by its own account, with an open connection to it; or {ordinal, host, absent: the reason,
 * gone: whether its host name does not exist}.
 * @param {Config} config
 * @param {string} instance
 * @param {number} ordinal
 * @returns {Promise<Seen>}
 */
async function look(config, instance, ordinal) {
  const host = hostOf(config, ordinal);
  let connection;
  try {
    const { address } = await within(lookup(host), LOOK_MS, 'no answer from DNS');
    connection = new Connection(address, config.port, { milliseconds: COMMAND_MS });
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
    const [, , nodes, cluster, replication, keys, announced, user] = await within(
      Promise.all(asked),
      LOOK_MS,
      'no answer in time',
    );
    // An address may have passed on to another pod since the name server heard of it.
    if (String(announced[1]) !== host) throw new RedisError(`${address} is another host`);
    const entries = parseNodes(nodes);
    return {
      ordinal,
      host,
      address,
      connection,
      keys,
      nodes: entries,
      id: entries.find(({ flags }) => flags.includes('myself'))?.id,
      ok: field(cluster, 'cluster_state') === 'ok',
      epoch: Number(field(cluster, 'cluster_current_epoch')),
      closed: / -psync/.test(String(user[user.findIndex((word) => String(word) === 'commands') + 1])),
      linked: field(replication, 'master_link_status') === 'up',
      follows: field(replication, 'master_host'),
      offset: Number(field(replication, 'slave_repl_offset') ?? 0),
    };
  } catch (error) {
    connection?.close();
    if (!(error instanceof RedisError) && error.syscall !== 'getaddrinfo') throw error;
    return { ordinal, host, absent: error.code ?? error.message, gone: await isUnknown(error) };
  }
}

const hostOf = ({ statefulSet, domain }, ordinal) => `${statefulSet}-${ordinal}.${domain}`;
export const ordinalOf = ({ statefulSet, domain }, host) => {
  if (!host.startsWith(`${statefulSet}-`) || !host.endsWith(`.${domain}`)) return undefined;
  const ordinal = host.slice(statefulSet.length + 1, -domain.length - 1);
  return /^\d+$/.test(ordinal) ? Number(ordinal) : undefined;
};

/**
 * All wanted pods, and those beyond them that any of these knows by name.
 * @param {Config} config
 * @param {string} instance
 */
export async function lookAtAll(config, instance) {
  const wanted = await Promise.all(range(config.pods).map((ordinal) => look(config, instance, ordinal)));
  const known = wanted.flatMap(({ nodes = [] }) => nodes.map(({ host }) => ordinalOf(config, host)));
  const beyond = [...new Set(known)].filter((ordinal) => ordinal >= config.pods);
  return [...wanted, ...(await Promise.all(beyond.map((ordinal) => look(config, instance, ordinal))))];
}
