/**
 * Waits until everything that a pod needs answers; an init container runs it. Exit status 0 when all of it does, 1
 * with a line naming what is missing after --timeout, 2 when the arguments are wrong, 143 after SIGTERM.
 *
 * Targets, all tried at once and once a second; a name that does not resolve is one more thing that is not there yet:
 *   tcp://host:port            takes a connection
 *   http://host:port/path      answers GET with a status from 200 to 299
 *   redis://host:port          answers PING
 *   redis-cluster://host:port  says in CLUSTER INFO that its state is ok and all 16384 slots are assigned
 *
 * --redis-password-file holds one line, sent as AUTH to both kinds of Redis. Logs one JSON line for each target that
 * answers, for each change of what keeps one from it, and every 10 s for all that is missing.
 */
import http from 'node:http';
import net from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

import { configured, FlagError, Flags, must } from './lib/flags.mjs';
import { log, reasonOf } from './lib/log.mjs';
import { Connection } from './lib/redis.mjs';

const USAGE = `wait.mjs [--timeout SECONDS] [--redis-password-file FILE] TARGET...
  TARGET: tcp://host:port | http://host:port/path | redis://host:port | redis-cluster://host:port`;
const ATTEMPT_MS = 5_000;
const PAUSE_MS = 1_000;
const REPORT_MS = 10_000;
const MAX_REPLY_BYTES = 64 * 1024;
const SLOTS = '16384';

/** @typedef {{ url: URL, host: string, port: number }} Address */
/** @typedef {(address: Address, password: string | undefined) => Promise<void>} Ask */

// --- what a target is asked ------------------------------------------------------------------------------------

/**
 * Rejects when `promise` takes too long; whoever owns the connection closes it then.
 * @template T
 * @param {Promise<T>} promise
 */
async function inTime(promise) {
  const late = Promise.withResolvers();
  const timer = setTimeout(() => late.reject(new Error('no answer')), ATTEMPT_MS);
  try {
    return await Promise.race([promise, /** @type {Promise<never>} */ (late.promise)]);
  } finally {
    clearTimeout(timer);
  }
}

/** @type {Ask} */
async function askTcp({ host, port }) {
  const socket = net.connect({ host, port });
  try {
    await inTime(new Promise((resolve, reject) => socket.on('error', reject).on('connect', resolve)));
  } finally {
    socket.destroy();
  }
}

/** @type {Ask} */
async function askHttp({ url }) {
  const request = http.get(url, { agent: false });
  try {
    const answer = new Promise((resolve, reject) => request.on('response', resolve).on('error', reject));
    const { statusCode: status } = await inTime(answer);
    if (status < 200 || status > 299) throw new Error(`status ${status}`);
  } finally {
    request.destroy();
  }
}

/**
 * Redis' reply to a command, after AUTH if there is a password.
 * @param {Address} address
 * @param {string | undefined} password
 * @param {string[]} words
 * @returns {Promise<string>}
 */
async function askRedisFor({ host, port }, password, ...words) {
  const connection = new Connection(host, port, { milliseconds: ATTEMPT_MS, mostBytes: MAX_REPLY_BYTES });
  try {
    const admitted = password === undefined ? undefined : connection.text('AUTH', password);
    const [, reply] = await Promise.all([admitted, connection.text(...words)]);
    return reply;
  } finally {
    connection.close();
  }
}

/** @type {Ask} */
async function askRedis(address, password) {
  const answer = await askRedisFor(address, password, 'PING');
  if (answer !== 'PONG') throw new Error('not an answer of Redis');
}

/** @type {Ask} */
async function askRedisCluster(address, password) {
  const answer = await askRedisFor(address, password, 'CLUSTER', 'INFO');
  const field = (/** @type {string} */ name) => new RegExp(`^${name}:(.*)$`, 'm').exec(answer)?.[1].trim();
  const [state, slots] = [field('cluster_state'), field('cluster_slots_assigned')];
  if (state !== 'ok' || slots !== SLOTS) throw new Error(`cluster_state ${state}, ${slots} slots assigned`);
}

/** @type {Record<string, Ask>} */
const KINDS = { 'tcp:': askTcp, 'http:': askHttp, 'redis:': askRedis, 'redis-cluster:': askRedisCluster };

// --- configuration ---------------------------------------------------------------------------------------------

/** @param {string} text */
function target(text) {
  const url = URL.parse(text);
  const ask = url && KINDS[url.protocol];
  if (!url || !ask) throw new FlagError(`${text.replace(/\/\/.*@/, '//...@')} is not a target`);
  must(!url.username && !url.password, 'a target holds no user and no password');
  const port = Number(url.port || (url.protocol === 'http:' ? 80 : 0));
  must(url.hostname && port, `${text} needs a host and a port`);
  must(url.protocol === 'http:' || /^[^/]+:\/\/[^/?#]+$/.test(text), `${text} must end with its port`);
  return { text, ask, address: { url, host: url.hostname.replace(/^\[|\]$/g, ''), port } };
}

const { seconds, password, targets } = configured(USAGE, () => {
  const flags = new Flags({ timeout: '900', 'redis-password-file': undefined }, { positionals: true });
  must(flags.positionals.length, 'nothing to wait for');
  return {
    seconds: flags.seconds('timeout', { max: 999_999 }),
    password: flags.has('redis-password-file') ? flags.line('redis-password-file') : undefined,
    targets: [...new Set(flags.positionals)].map(target),
  };
});

// --- waiting ---------------------------------------------------------------------------------------------------

const missing = new Map(targets.map(({ text }) => [text, 'not tried yet']));

/** @param {ReturnType<typeof target>} target */
async function waitFor({ text, ask, address }) {
  for (;;) {
    try {
      await ask(address, password);
      missing.delete(text);
      log('ready', { target: text });
      return;
    } catch (error) {
      const reason = reasonOf(error);
      if (reason !== missing.get(text)) log('waiting', { target: text, reason });
      missing.set(text, reason);
    }
    await sleep(PAUSE_MS);
  }
}

process.on('SIGTERM', () => process.exit(143));
setInterval(() => log('missing', Object.fromEntries(missing)), REPORT_MS).unref();
setTimeout(() => {
  const list = [...missing].map(([text, reason]) => `${text} (${reason})`).join(', ');
  console.error(`wait.mjs: after ${seconds} s still missing: ${list}`);
  process.exit(1);
}, seconds * 1000).unref();

await Promise.all(targets.map(waitFor));
log('done');
