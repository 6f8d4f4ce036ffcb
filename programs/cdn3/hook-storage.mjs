/** The place where tusd keeps uploads, as the hook sees it: is a key free, and is there space? */
import { readdir, stat, statfs } from 'node:fs/promises';
import { join } from 'node:path';

import { storeOf } from '../lib/s3.mjs';
import { HttpError } from '../lib/server.mjs';
import { declaredSize, IS_KEY, look } from './uploads.mjs';

/** For the answers of S3 about one key. */
const S3_MS = 4_000;
/** An upload that got no byte for so long is no longer expected to go on. */
const EXPECTED_MS = 600_000;
/** The least time between two looks at how much uploads still lack. */
const LOOK_MS = 2_000;

/**
 * A refusal for tusd's client: the status, a fixed sentence that repeats nothing of the request, and headers.
 */
export class Refusal extends HttpError {}

const tooFull = (/** @type {string} */ reason) => new Refusal(507, reason, { 'Retry-After': '60' });

/** Keys accepted a moment ago: each is held from the answer to tusd until tusd has surely made the file. */
export class Reserved {
  /** @type {Map<string, { until: number, call: string }>} oldest first, in milliseconds of the monotonic clock */
  #keys = new Map();
  #milliseconds;

  /** @param {number} milliseconds */
  constructor(milliseconds) {
    this.#milliseconds = milliseconds;
  }

  /**
   * Reserves a key. A byte-identical call (same connection of the same client) is tusd trying again after a lost
   * answer, and may have the key.
   * @param {string} key
   * @param {string} call its digest
   */
  take(key, call) {
    const now = performance.now();
    for (const [old, { until }] of this.#keys) {
      if (until > now) break;
      this.#keys.delete(old);
    }
    const held = this.#keys.get(key);
    if (held && held.call !== call) throw new Refusal(409, 'the upload exists already');
    this.#keys.delete(key);
    this.#keys.set(key, { until: now + this.#milliseconds, call });
  }

  /** @param {string} key */
  has(key) {
    return this.#keys.has(key);
  }

  /** @param {string} key */
  free(key) {
    this.#keys.delete(key);
  }
}

/** The space of a directory that nobody has been promised yet. */
class Space {
  #path;
  #minFree;
  #reserved;
  /** @type {Map<string, { size: number, client: string | undefined }>} by key; not known of those found at the start */
  #promised = new Map();
  /** @type {Promise<void> | undefined} */
  #found;
  /** @type {Map<string | undefined, number>} bytes by client */
  #lacking = new Map();
  #lookedAt = Number.NEGATIVE_INFINITY;
  /** @type {Promise<void>} */
  #turn = Promise.resolve();

  /**
   * @param {string} path
   * @param {number} minFree
   * @param {Reserved} reserved
   */
  constructor(path, minFree, reserved) {
    this.#path = path;
    this.#reserved = reserved;
    this.#minFree = minFree;
  }

  /**
   * Promises an upload of `size` bytes to a client, one after the other; throws the Refusal when it does not fit.
   * @param {string} key
   * @param {number} size
   * @param {string} client
   */
  take(key, size, client) {
    const taken = this.#turn.then(() => this.#take(key, size, client));
    this.#turn = taken.catch(() => {});
    return taken;
  }

  async #take(key, size, client) {
    this.#found ??= this.#find().catch((error) => {
      this.#found = undefined;
      throw error;
    });
    await this.#found;
    if (performance.now() - this.#lookedAt > LOOK_MS) await this.#measure();
    const { bavail, bsize } = await statfs(this.#path);
    const room = bavail * bsize - this.#minFree;
    const all = [...this.#lacking.values()].reduce((sum, bytes) => sum + bytes, 0);
    if (size > 0 && size > room - all) throw tooFull('there is not enough space');
    const own = (this.#lacking.get(client) ?? 0) + size;
    if (size > 0 && own > room / 2) throw tooFull('too much of this client is under way');
    this.#promised.set(key, { size, client });
    this.#lacking.set(client, own);
  }

  /** The uploads of an earlier life. */
  async #find() {
    for (const name of await readdir(this.#path)) {
      const key = name.slice(0, -'.info'.length);
      if (name !== `${key}.info` || !IS_KEY.test(key)) continue;
      const size = await declaredSize(this.#path, key).catch(() => undefined);
      if (size !== undefined) this.#promised.set(key, { size, client: undefined });
    }
  }

  /** The bytes that uploads lack, by client. Forgets complete and deleted ones, and those that do not go on. */
  async #measure() {
    const lacking = new Map();
    const now = Date.now();
    for (const [key, { size, client }] of this.#promised) {
      const data = await look(join(this.#path, key));
      const bytes = size - (data?.size ?? 0);
      const expected = data ? now - data.mtimeMs < EXPECTED_MS : this.#reserved.has(key);
      if (bytes > 0 && expected) lacking.set(client, (lacking.get(client) ?? 0) + bytes);
      else this.#promised.delete(key);
    }
    this.#lacking = lacking;
    this.#lookedAt = performance.now();
  }
}

/**
 * A storage has `used(key)`, whether there are data or info of a key, which throws where it cannot know,
 * `take(key, size, client)`, which throws where the upload does not fit, `ready()`, and `start()`.
 * @typedef {{
 *   start: () => void, ready: () => Promise<boolean>, used: (key: string) => Promise<boolean>,
 *   take: (key: string, size: number, client: string) => Promise<void>,
 * }} Storage
 */

/**
 * @param {string} path
 * @param {number} minFree
 * @param {Reserved} reserved
 * @returns {Storage}
 */
export function directoryOf(path, minFree, reserved) {
  const exists = async (name) => (await look(join(path, name))) !== undefined;
  const space = new Space(path, minFree, reserved);
  return {
    start: () => {},
    take: (key, size, client) => space.take(key, size, client),
    ready: () =>
      stat(path).then(
        (found) => found.isDirectory(),
        () => false,
      ),
    used: async (key) => {
      if (!(await stat(path)).isDirectory()) throw Object.assign(new Error(), { code: 'ENOTDIR' });
      return (await Promise.all([exists(key), exists(`${key}.info`)])).includes(true);
    },
  };
}

/**
 * @param {import('../lib/flags.mjs').Flags} flags
 * @returns {Storage}
 */
export function bucketOf(flags) {
  const store = storeOf(flags, 'cdn3-hook');
  const exists = async (/** @type {string} */ name, /** @type {AbortSignal} */ signal) => {
    const answer = await store.bucket.read('HEAD', `${store.prefix}${name}`, {}, signal);
    answer.resume();
    if (answer.statusCode === 200) return true;
    if (answer.statusCode === 404) return false;
    throw Object.assign(new Error(), { code: `S3 answered ${answer.statusCode}` });
  };
  return {
    start: () => store.credentials.obtain(),
    take: async () => {},
    ready: async () => store.credentials.obtained,
    used: async (key) => {
      const signal = AbortSignal.timeout(S3_MS);
      return (await Promise.all([exists(key, signal), exists(`${key}.info`, signal)])).includes(true);
    },
  };
}
