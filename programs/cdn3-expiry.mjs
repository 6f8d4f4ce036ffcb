/**
 * CDN3's expiry: deletes old uploads from tusd's upload directory, since tusd 2.9.1 deletes nothing by itself.
 *
 * tusd's file store keeps an upload in two files: `<key>`, the data so far, and `<key>.info`, JSON with `Size` and
 * `SizeIsDeferred`. Whisper's keys are 20 characters of base64url; any other name is left alone. An upload is
 * - complete, when the data have the declared size: deleted --completed-max-age after the last byte came;
 * - incomplete, otherwise (also when its info cannot be understood, as after a crash while it was written), or half
 *   of a pair: deleted --incomplete-max-age after either file was last written.
 *
 * Data go first, then info. Either one missing makes tusd answer 404 and the hook refuse the key, and a download
 * under way keeps its open file, so the order matters only to a crash between the two: it leaves an info without
 * data, small and as old as the upload was, which the next sweep removes. The other order could leave large data
 * of which nothing tells any more whether they were complete.
 *
 * Lock files: tusd's file locker keeps `<key>.lock`, holding its process id, while a request uses the upload, and
 * `<key>.stop` when another one waits. Killed, or at its shutdown timeout, it leaves them; started again in a
 * container it has the same process id, takes the lock for its own, and answers 500 for that key for ever. With
 * --lock-max-age they are deleted when they and the data have not changed for so long: a request that moves no byte
 * is ended after tusd's --network-timeout (60 s; a download after twice that), so anything longer is safe.
 *
 * Serves `GET /healthz` on --health-listen: 503 when nothing was swept for --health-max-age. Logs one JSON line per
 * sweep and per error; of a key only its first characters, since the whole of it is what permits a download.
 */
import { constants, statSync } from 'node:fs';
import { lstat, open, readdir, statfs, unlink } from 'node:fs/promises';
import http from 'node:http';
import { isIP } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';

const USAGE = `usage: cdn3-expiry.mjs --upload-dir DIR --interval SECONDS --completed-max-age SECONDS
  --incomplete-max-age SECONDS --health-listen [ADDRESS]:PORT [--health-max-age SECONDS] [--lock-max-age SECONDS]`;

const NAME = /^([A-Za-z0-9_-]{20})(|\.info|\.lock|\.stop)$/;
/** Infos are read into this, one at a time; tusd's own are about 300 bytes long. */
const infoBuffer = Buffer.alloc(16 * 1024);

function log(event, fields = {}) {
  console.log(JSON.stringify({ time: new Date().toISOString(), event, ...fields }));
}

function stop(problem) {
  console.error(`cdn3-expiry: ${problem}\n${USAGE}`);
  process.exit(2);
}

// --- configuration ---------------------------------------------------------------------------------------------

function seconds(name, text) {
  if (!/^[1-9][0-9]{0,8}$/.test(text ?? '')) stop(`--${name} must be a whole number of seconds, at least 1`);
  return Number(text);
}

/** Without an address it is every one of the pod's, of IPv6 and of IPv4. */
function address(name, text) {
  const [whole, bracketed, plain, port] = /^(?:\[([^\]]+)\]|([^:]+)|):([0-9]{1,5})$/.exec(text ?? '') ?? [];
  const host = bracketed ?? plain;
  if (!whole || (host && !isIP(host)) || Number(port) > 65535) stop(`--${name} must be an IP address and a port, or :PORT`);
  return { host, port: Number(port) };
}

function configure() {
  const names = [
    'upload-dir',
    'interval',
    'completed-max-age',
    'incomplete-max-age',
    'health-listen',
    'health-max-age',
    'lock-max-age',
  ];
  let values;
  try {
    ({ values } = parseArgs({ options: Object.fromEntries(names.map((name) => [name, { type: 'string' }])) }));
  } catch (error) {
    stop(error.message);
  }
  const duration = (name) => seconds(name, values[name]);
  const directory = values['upload-dir'] ?? '';
  if (!statSync(directory, { throwIfNoEntry: false })?.isDirectory()) stop('--upload-dir is not a directory');
  const interval = duration('interval');
  return {
    directory,
    interval,
    completedMaxAge: duration('completed-max-age'),
    incompleteMaxAge: duration('incomplete-max-age'),
    lockMaxAge: values['lock-max-age'] === undefined ? Infinity : duration('lock-max-age'),
    healthListen: address('health-listen', values['health-listen']),
    healthMaxAge: values['health-max-age'] === undefined ? 3 * interval + 60 : duration('health-max-age'),
  };
}

const config = configure();
const stopping = new AbortController();
/** When a sweep last got anywhere, in milliseconds of the monotonic clock. */
let lastProgress = performance.now();

// --- files -----------------------------------------------------------------------------------------------------

/** What is at the name itself (a link is not followed), or undefined. */
async function look(name) {
  try {
    return await lstat(join(config.directory, name));
  } catch (error) {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  }
}

/** Deletes the name; false when something else did. */
async function remove(name) {
  try {
    await unlink(join(config.directory, name));
    return true;
  } catch (error) {
    if (error.code === 'ENOENT') return false;
    throw error;
  }
}

/** The declared size in bytes, or undefined when the info gives none (deferred, or not what tusd writes). */
async function declaredSize(key) {
  const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = constants;
  const file = await open(join(config.directory, `${key}.info`), O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  try {
    const { bytesRead } = await file.read(infoBuffer, 0, infoBuffer.length, 0);
    const info = JSON.parse(infoBuffer.toString('utf8', 0, bytesRead));
    return info?.SizeIsDeferred === false && Number.isInteger(info.Size) ? info.Size : undefined;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  } finally {
    await file.close();
  }
}

// --- one upload ------------------------------------------------------------------------------------------------

function age(...found) {
  return (Date.now() - Math.max(...found.filter(Boolean).map((stat) => stat.mtimeMs))) / 1000;
}

/** `completed`, `incomplete` or `orphan`. */
function kindOf(data, info, size) {
  if (!data || !info) return 'orphan';
  return data.size === size ? 'completed' : 'incomplete';
}

/** Looks at one key's files, data last, so that hardly any time passes until they are deleted. */
async function sweepUpload(key, totals) {
  const info = await look(`${key}.info`);
  const size = info?.isFile() ? await declaredSize(key) : undefined;
  const data = await look(key);
  if (!data && !info) return;
  if ([data, info].some((found) => found && !found.isFile())) {
    totals.skipped += 1;
    return;
  }
  const kind = kindOf(data, info, size);
  const expired =
    kind === 'completed' ? age(data) > config.completedMaxAge : age(data, info) > config.incompleteMaxAge;
  const bytes = data?.size ?? 0;
  if (!expired) {
    totals.kept += 1;
    totals.kept_bytes += bytes;
    return;
  }
  if (data) await remove(key);
  if (info) await remove(`${key}.info`);
  totals[kind] += 1;
  totals.deleted_bytes += bytes;
}

/** Deletes what a dead tusd left of its locks on this key. */
async function sweepLocks(key, totals) {
  const data = await look(key);
  for (const name of [`${key}.lock`, `${key}.stop`]) {
    const found = await look(name);
    if (found?.isFile() && age(found, data) > config.lockMaxAge && (await remove(name))) totals.locks += 1;
  }
}

// --- one sweep -------------------------------------------------------------------------------------------------

async function guarded(operation, key, totals) {
  if (stopping.signal.aborted) return;
  try {
    await operation(key, totals);
  } catch (error) {
    totals.errors += 1;
    log('error', { key: `${key.slice(0, 4)}…`, code: error.code ?? error.message });
  }
  lastProgress = performance.now();
}

/** The keys that have data or info, and those that have locks; every other name is only counted. */
async function listKeys(totals) {
  const uploads = new Set();
  const locks = new Set();
  for (const name of await readdir(config.directory)) {
    const [, key, suffix] = NAME.exec(name) ?? [];
    if (key === undefined) totals.foreign += 1;
    else if (suffix === '.lock' || suffix === '.stop') locks.add(key);
    else uploads.add(key);
  }
  return { uploads, locks };
}

async function sweep() {
  const started = performance.now();
  const totals = {
    completed: 0, incomplete: 0, orphan: 0, deleted_bytes: 0, locks: 0,
    kept: 0, kept_bytes: 0, skipped: 0, foreign: 0, errors: 0,
  };
  const { uploads, locks } = await listKeys(totals);
  for (const key of uploads) await guarded(sweepUpload, key, totals);
  for (const key of locks) await guarded(sweepLocks, key, totals);
  const { bavail, bsize } = await statfs(config.directory);
  lastProgress = performance.now();
  const seconds = Number(((lastProgress - started) / 1000).toFixed(3));
  log('sweep', { ...totals, free_bytes: bavail * bsize, seconds });
}

async function run() {
  while (!stopping.signal.aborted) {
    try {
      await sweep();
    } catch (error) {
      log('sweep-failed', { code: error.code ?? error.message });
    }
    await sleep(config.interval * 1000, undefined, { signal: stopping.signal }).catch(() => undefined);
  }
}

// --- liveness --------------------------------------------------------------------------------------------------

function serveHealth({ host, port }) {
  const server = http.createServer((request, response) => {
    const idle = (performance.now() - lastProgress) / 1000;
    const known = request.url.split('?', 1)[0] === '/healthz';
    const status = !known ? 404 : idle > config.healthMaxAge ? 503 : 200;
    response.writeHead(status, { 'Content-Type': 'application/json', Connection: 'close' });
    response.end(JSON.stringify(known ? { seconds_since_progress: Math.round(idle) } : { error: 'no such path' }));
  });
  server.on('error', (error) => stop(`cannot listen on ${host}:${port} (${error.code})`));
  server.listen(port, host, () => log('listening', { host, port: server.address().port }));
  return server;
}

const server = serveHealth(config.healthListen);
for (const signal of ['SIGTERM', 'SIGINT']) {
  process.once(signal, () => {
    log('stopping', { signal });
    stopping.abort();
    server.close();
  });
}
await run();
