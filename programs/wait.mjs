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
import { readFileSync } from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';

const USAGE = `usage: wait.mjs [--timeout SECONDS] [--redis-password-file FILE] TARGET...
  TARGET: tcp://host:port | http://host:port/path | redis://host:port | redis-cluster://host:port`;
const DEFAULT_TIMEOUT_SECONDS = 900;
const ATTEMPT_MILLISECONDS = 5_000;
const PAUSE_MILLISECONDS = 1_000;
const REPORT_MILLISECONDS = 10_000;
const MAX_REPLY_BYTES = 64 * 1024;
const SLOTS = '16384';

function log(event, fields = {}) {
  console.log(JSON.stringify({ time: new Date().toISOString(), event, ...fields }));
}

function stop(problem) {
  console.error(`wait: ${problem}\n${USAGE}`);
  process.exit(2);
}

// --- what a target is asked ------------------------------------------------------------------------------------

/** Rejects when `promise` takes too long; whoever owns the connection closes it then. */
async function inTime(promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error('no answer')), ATTEMPT_MILLISECONDS);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Opens a connection, lets `speak(socket)` use it, and closes it whatever comes of that. */
async function connected({ host, port }, speak) {
  const socket = net.connect({ host, port });
  try {
    return await inTime(
      new Promise((resolve, reject) => {
        socket.on('error', reject);
        socket.on('connect', () => Promise.resolve(speak(socket)).then(resolve, reject));
      }),
    );
  } finally {
    socket.destroy();
  }
}

function askTcp(address) {
  return connected(address, () => {});
}

async function askHttp({ url }) {
  const request = http.get(url, { agent: false });
  try {
    const status = await inTime(
      new Promise((resolve, reject) => {
        request.on('response', (response) => resolve(response.statusCode));
        request.on('error', reject);
      }),
    );
    if (status < 200 || status > 299) throw new Error(`status ${status}`);
  } finally {
    request.destroy();
  }
}

function command(...words) {
  return `*${words.length}\r\n${words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`).join('')}`;
}

/** One RESP2 reply at `start`: its text and where it ends; undefined while bytes are missing. Errors are thrown. */
function reply(data, start) {
  const end = data.indexOf('\r\n', start);
  if (end < 0) return undefined;
  const line = data.toString('utf8', start + 1, end);
  switch (String.fromCharCode(data[start])) {
    case '+':
      return { text: line, next: end + 2 };
    case '-':
      throw new Error(line);
    case '$': {
      const next = end + 2 + Number(line) + 2;
      return data.length < next ? undefined : { text: data.toString('utf8', end + 2, next - 2), next };
    }
    default:
      throw new Error('not an answer of Redis');
  }
}

/** The text of reply number `count`, counted from 1; undefined while bytes are missing. */
function replyNumber(count, data) {
  let last = { next: 0 };
  for (let number = 1; number <= count && last !== undefined; number += 1) last = reply(data, last.next);
  return last?.text;
}

/** Redis' reply to a command, after AUTH if there is a password. */
function askRedisFor(address, password, ...words) {
  const commands = [...(password === undefined ? [] : [command('AUTH', password)]), command(...words)];
  return connected(address, async (socket) => {
    socket.write(commands.join(''));
    let data = Buffer.alloc(0);
    for await (const part of socket) {
      data = Buffer.concat([data, part]);
      const text = replyNumber(commands.length, data);
      if (text !== undefined) return text;
      if (data.length > MAX_REPLY_BYTES) throw new Error('not an answer of Redis');
    }
    throw new Error('connection closed');
  });
}

async function askRedis(address, password) {
  const answer = await askRedisFor(address, password, 'PING');
  if (answer !== 'PONG') throw new Error('not an answer of Redis');
}

async function askRedisCluster(address, password) {
  const answer = await askRedisFor(address, password, 'CLUSTER', 'INFO');
  const info = new Map(answer.split('\r\n').map((line) => line.split(':')));
  const [state, slots] = [info.get('cluster_state'), info.get('cluster_slots_assigned')];
  if (state !== 'ok' || slots !== SLOTS) throw new Error(`cluster_state ${state}, ${slots} slots assigned`);
}

const KINDS = {
  'tcp:': askTcp,
  'http:': askHttp,
  'redis:': askRedis,
  'redis-cluster:': askRedisCluster,
};

// --- configuration ---------------------------------------------------------------------------------------------

function target(text) {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const ask = url && KINDS[url.protocol];
  if (!ask) stop(`${text.replace(/\/\/.*@/, '//...@')} is not a target`);
  if (url.username || url.password) stop('a target holds no user and no password');
  const port = Number(url.port || (url.protocol === 'http:' ? 80 : 0));
  if (!url.hostname || !port) stop(`${text} needs a host and a port`);
  if (url.protocol !== 'http:' && !/^[^/]+:\/\/[^/?#]+$/.test(text)) stop(`${text} must end with its port`);
  return { text, ask, address: { url, host: url.hostname.replace(/^\[|\]$/g, ''), port } };
}

function passwordIn(file) {
  if (file === undefined) return undefined;
  let text;
  try {
    text = readFileSync(file, 'utf8').replace(/\r?\n$/, '');
  } catch (error) {
    stop(`--redis-password-file ${file}: ${error.code}`);
  }
  if (!text || text.includes('\n')) stop(`--redis-password-file ${file} must hold one line`);
  return text;
}

function configuration() {
  const options = { timeout: { type: 'string' }, 'redis-password-file': { type: 'string' } };
  let parsed;
  try {
    parsed = parseArgs({ options, allowPositionals: true });
  } catch (error) {
    stop(error.message);
  }
  const { values, positionals } = parsed;
  const timeout = values.timeout ?? String(DEFAULT_TIMEOUT_SECONDS);
  if (!/^[1-9][0-9]{0,5}$/.test(timeout)) stop('--timeout must be a whole number of seconds, at least 1');
  if (!positionals.length) stop('nothing to wait for');
  return {
    seconds: Number(timeout),
    password: passwordIn(values['redis-password-file']),
    targets: [...new Set(positionals)].map(target),
  };
}

// --- waiting ---------------------------------------------------------------------------------------------------

const { seconds, password, targets } = configuration();
const missing = new Map(targets.map(({ text }) => [text, 'not tried yet']));

async function waitFor({ text, ask, address }) {
  for (;;) {
    try {
      await ask(address, password);
      missing.delete(text);
      log('ready', { target: text });
      return;
    } catch (error) {
      const reason = error.code ?? error.message;
      if (reason !== missing.get(text)) log('waiting', { target: text, reason });
      missing.set(text, reason);
    }
    await sleep(PAUSE_MILLISECONDS);
  }
}

process.on('SIGTERM', () => process.exit(143));
setInterval(() => log('missing', Object.fromEntries(missing)), REPORT_MILLISECONDS).unref();
setTimeout(() => {
  const list = [...missing].map(([text, reason]) => `${text} (${reason})`).join(', ');
  console.error(`wait: after ${seconds} s still missing: ${list}`);
  process.exit(1);
}, seconds * 1000).unref();

await Promise.all(targets.map(waitFor));
log('done');
