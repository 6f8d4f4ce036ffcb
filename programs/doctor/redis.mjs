/** Reads what Redis nodes say of themselves, tries a key of the doctor's own, and measures how long messages wait. */
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';

import { reasonOf } from '../lib/log.mjs';
import { Connection, RedisError } from '../lib/redis.mjs';
import { parseNodes } from '../redis/nodes.mjs';
import { sizeOf } from '../redis/slots.mjs';

const PATIENCE_MS = 3000;
const SCAN_MS = 5000;
const SCAN_COUNT = 1000;
const KEY_SECONDS = 60;
/** Whisper's sorted sets of queues by the time of their oldest message, one for each slot (MessagesCache.java). */
const QUEUE_INDEX = 'user_queue_index::*';

/** @typedef {{ name: string, host: string, port: number }} Address */
/** @typedef {Record<string, any>} Node what a node says of itself, or `problem` */

const field = (/** @type {string} */ text, /** @type {string} */ name) =>
  new RegExp(`^${name}:(.*)$`, 'm').exec(text)?.[1].trim() ?? '';

/**
 * A connection that is authenticated; `message` takes what a subscription brings.
 * @param {{ host: string, port: number }} address
 * @param {string} password
 * @param {(message: any) => void} [message]
 */
export async function opened({ host, port }, password, message) {
  const connection = new Connection(host, port, { milliseconds: PATIENCE_MS, message });
  try {
    await connection.text('AUTH', password);
    return connection;
  } catch (error) {
    connection.close();
    throw error;
  }
}

/**
 * The state of a node by its own account; `replicas` are those in step that it has, `owned` are slots.
 * @param {Address} address
 * @param {string} password
 * @returns {Promise<Node>}
 */
export async function look(address, password) {
  const { name } = address;
  let connection;
  try {
    connection = await opened(address, password);
    const [cluster, nodes, replication, memory] = await Promise.all([
      connection.text('CLUSTER', 'INFO'),
      connection.text('CLUSTER', 'NODES'),
      connection.text('INFO', 'replication'),
      connection.text('INFO', 'memory'),
    ]);
    const self = parseNodes(nodes).find(({ flags }) => flags.includes('myself'));
    return {
      name,
      state: field(cluster, 'cluster_state'),
      slots: Number(field(cluster, 'cluster_slots_assigned')),
      role: field(replication, 'role'),
      linked: field(replication, 'master_link_status') === 'up',
      replicas: [...replication.matchAll(/^slave\d+:.*\bstate=online\b/gm)].length,
      owned: self ? sizeOf(self.ranges) : 0,
      usedMemory: Number(field(memory, 'used_memory')),
      maxMemory: Number(field(memory, 'maxmemory')),
    };
  } catch (error) {
    return { name, problem: reasonOf(error) };
  } finally {
    connection?.close();
  }
}

/**
 * Writes a key and reads it back, on the node that has its slot; it goes by itself after a minute.
 * @param {Address[]} nodes
 * @param {string} password
 */
export async function tryKey(nodes, password) {
  const [key, value] = [`doctor::${randomUUID()}`, randomUUID()];
  let reason = 'no node has the slot of the key';
  for (const node of nodes) {
    const connection = await opened(node, password).catch((error) => {
      reason = `${node.name}: ${reasonOf(error)}`;
      return undefined;
    });
    try {
      if (!connection) continue;
      await connection.send('SET', key, value, 'EX', KEY_SECONDS);
      const found = await connection.text('GET', key);
      await connection.send('DEL', key);
      if (found !== value) throw new Error('GET: the key is not what was written');
      return;
    } catch (error) {
      if (!(error instanceof RedisError)) throw error;
      if (!/^(MOVED|READONLY)/.test(error.message)) reason = `${node.name}: ${error.message}`;
    } finally {
      connection?.close();
    }
  }
  throw new RedisError(reason);
}

/**
 * Subscribes to a channel and publishes to it.
 * @param {{ host: string, port: number }} address
 * @param {string} password
 */
export async function tryNotification(address, password) {
  const [channel, value] = [`doctor::${randomUUID()}`, randomUUID()];
  const got = Promise.withResolvers();
  const late = new AbortController();
  const subscriber = await opened(address, password, ([kind, from, content]) => {
    if (`${kind}` === 'message' && `${from}` === channel) got.resolve(`${content}`);
  });
  try {
    await subscriber.send('SUBSCRIBE', channel);
    const publisher = await opened(address, password);
    try {
      await publisher.send('PUBLISH', channel, value);
    } finally {
      publisher.close();
    }
    const found = await Promise.race([
      got.promise,
      sleep(PATIENCE_MS, undefined, { signal: late.signal }).catch(() => undefined),
    ]);
    if (found === undefined) throw new RedisError('no notification came');
    if (found !== value) throw new RedisError('the notification is not what was sent');
  } finally {
    late.abort();
    subscriber.close();
  }
}

/**
 * How long the oldest message of all queues has waited, and how many queues there are. No queue is named.
 * @param {Address[]} nodes
 * @param {string} password
 */
export async function waiting(nodes, password) {
  let [queues, oldest, complete] = [0, Number.POSITIVE_INFINITY, true];
  const end = performance.now() + SCAN_MS;
  for (const node of nodes) {
    const connection = await opened(node, password);
    try {
      let cursor = '0';
      do {
        const [next, keys] = await connection.send('SCAN', cursor, 'MATCH', QUEUE_INDEX, 'COUNT', SCAN_COUNT);
        cursor = `${next}`;
        const firsts = await Promise.all(
          keys.map(async (/** @type {Buffer} */ key) => {
            const [count, first] = await Promise.all([
              connection.send('ZCARD', key),
              connection.send('ZRANGE', key, 0, 0, 'WITHSCORES'),
            ]);
            queues += count;
            return first.length ? Number(`${first[1]}`) : Number.POSITIVE_INFINITY;
          }),
        );
        oldest = Math.min(oldest, ...firsts);
      } while (cursor !== '0' && performance.now() < end);
      complete &&= cursor === '0';
    } finally {
      connection.close();
    }
  }
  const oldestSeconds = Number.isFinite(oldest) ? Math.max(0, (Date.now() - oldest) / 1000) : 0;
  return { queues, oldestSeconds, complete };
}
