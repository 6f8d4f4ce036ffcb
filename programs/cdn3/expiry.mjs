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
 * Serves its health on --health-listen: it fails when nothing was swept for --health-max-age. Logs one JSON line per
 * sweep and per error; of a key only its first characters, since the whole of it is what permits a download.
 */
import { readdir, statfs, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { configured, Flags } from '../lib/flags.mjs';
import { hint, log, reasonOf } from '../lib/log.mjs';
import { healthServer, listen } from '../lib/server.mjs';
import { declaredSize, KEY, look as lookAt } from './uploads.mjs';

const USAGE = `cdn3/expiry.mjs --upload-dir DIR --interval SECONDS --completed-max-age SECONDS
  --incomplete-max-age SECONDS --health-listen [ADDRESS]:PORT [--health-max-age SECONDS] [--lock-max-age SECONDS]`;

const NAME = new RegExp(`^(${KEY})(|\\.info|\\.lock|\\.stop)$`);

/** @typedef {import('node:fs').Stats} Stats */

const config = configured(USAGE, () => {
  const flags = new Flags({
    'upload-dir': undefined,
    interval: undefined,
    'completed-max-age': undefined,
    'incomplete-max-age': undefined,
    'health-listen': undefined,
    'health-max-age': undefined,
    'lock-max-age': undefined,
  });
  const interval = flags.seconds('interval');
  return {
    directory: flags.folder('upload-dir'),
    interval,
    completedMaxAge: flags.seconds('completed-max-age'),
    incompleteMaxAge: flags.seconds('incomplete-max-age'),
    lockMaxAge: flags.has('lock-max-age') ? flags.seconds('lock-max-age') : Number.POSITIVE_INFINITY,
    healthListen: flags.address('health-listen'),
    healthMaxAge: flags.has('health-max-age') ? flags.seconds('health-max-age') : 3 * interval + 60,
  };
});
const stopping = new AbortController();
/** When a sweep last got anywhere, in milliseconds of the monotonic clock. */
let lastProgress = performance.now();

const look = (/** @type {string} */ name) => lookAt(join(config.directory, name));

/**
 * Deletes the name; false when something else did.
 * @param {string} name
 */
async function remove(name) {
  try {
    await unlink(join(config.directory, name));
    return true;
  } catch (error) {
    if (error.code === 'ENOENT') return false;
    throw error;
  }
}

// --- one upload ------------------------------------------------------------------------------------------------

/**
 * Seconds since the youngest of these was written.
 * @param {(Stats | undefined)[]} found
 */
function age(...found) {
  return (Date.now() - Math.max(...found.map((stat) => stat?.mtimeMs ?? 0))) / 1000;
}

/**
 * @param {Stats | undefined} data
 * @param {Stats | undefined} info
 * @param {number | undefined} size
 */
function kindOf(data, info, size) {
  if (!data || !info) return 'orphan';
  return data.size === size ? 'completed' : 'incomplete';
}

/**
 * Looks at one key's files, data last, so that hardly any time passes until they are deleted.
 * @param {string} key
 * @param {Totals} totals
 */
async function sweepUpload(key, totals) {
  const info = await look(`${key}.info`);
  const size = info?.isFile() ? await declaredSize(config.directory, key) : undefined;
  const data = await look(key);
  if (!data && !info) return;
  if ([data, info].some((found) => found && !found.isFile())) {
    totals.skipped += 1;
    return;
  }
  const kind = kindOf(data, info, size);
  const expired = kind === 'completed' ? age(data) > config.completedMaxAge : age(data, info) > config.incompleteMaxAge;
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

/**
 * Deletes what a dead tusd left of its locks on this key.
 * @param {string} key
 * @param {Totals} totals
 */
async function sweepLocks(key, totals) {
  const data = await look(key);
  for (const name of [`${key}.lock`, `${key}.stop`]) {
    const found = await look(name);
    if (found?.isFile() && age(found, data) > config.lockMaxAge && (await remove(name))) totals.locks += 1;
  }
}

// --- one sweep -------------------------------------------------------------------------------------------------

/** @typedef {ReturnType<typeof nothing>} Totals */

const nothing = () => ({
  completed: 0,
  incomplete: 0,
  orphan: 0,
  deleted_bytes: 0,
  locks: 0,
  kept: 0,
  kept_bytes: 0,
  skipped: 0,
  foreign: 0,
  errors: 0,
});

/**
 * @param {(key: string, totals: Totals) => Promise<void>} operation
 * @param {string} key
 * @param {Totals} totals
 */
async function guarded(operation, key, totals) {
  if (stopping.signal.aborted) return;
  try {
    await operation(key, totals);
  } catch (error) {
    totals.errors += 1;
    log('error', { key: hint(key), reason: reasonOf(error) });
  }
  lastProgress = performance.now();
}

/**
 * The keys that have data or info, and those that have locks; every other name is only counted.
 * @param {Totals} totals
 */
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
  const totals = nothing();
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
      log('sweep-failed', { reason: reasonOf(error) });
    }
    await sleep(config.interval * 1000, undefined, { signal: stopping.signal }).catch(() => undefined);
  }
}

function problem() {
  const idle = (performance.now() - lastProgress) / 1000;
  return idle > config.healthMaxAge ? `no progress for ${Math.round(idle)} s` : undefined;
}

const health = healthServer({ '/livez': problem, '/readyz': problem });
listen(health, config.healthListen, USAGE, { serves: 'health' });
for (const signal of ['SIGTERM', 'SIGINT']) {
  process.once(signal, () => {
    log('stopping', { signal });
    stopping.abort();
    health.close();
  });
}
await run();
