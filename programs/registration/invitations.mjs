/**
 * The invitations that the operator issued: a folder with a file for each invited number, its digits the file's name.
 *
 * Kubernetes mounts a Secret so: the link `..data` leads to the files, and is replaced when the Secret changes. Before
 * each check the link and the folder are looked at, and only a change is read. So a check does the same, and takes the
 * same time, for every number.
 */
import { createHmac, randomBytes } from 'node:crypto';
import { readdir, readFile, readlink, stat } from 'node:fs/promises';
import { join } from 'node:path';

import { log } from '../lib/log.mjs';
import { FOREVER, UNINVITED } from './ledger.mjs';

/** @typedef {{ n: number, r: number, p: number }} Cost of scrypt (RFC 7914) */
/**
 * The facts that decide about a code. `again`: also a number that has an account. `codes`: how many codes of six
 * digits, typed one after the other, are the password.
 * @typedef {{
 *   id: string, salt: Buffer, hash: Buffer, cost: Cost, expires: number, again: boolean, codes: number,
 * }} Invitation
 */

const NUMBER = /^[1-9][0-9]{6,14}$/;
const ID = /^[0-9a-f]{32}$/;
const SALT_BYTES = 16;
const HASH_BYTES = 32;
const MOST_FILES_OPEN = 16;
const MOST_TRIES = 3;
/** @type {Cost} */
const USUAL = { n: 16384, r: 8, p: 1 };
const MOST_MEMORY = 64 * 1024 * 1024;

/** @param {unknown} value */
const whole = (value) => Number.isSafeInteger(value) && Number(value) > 0;

/** @param {Cost} cost */
const bearable = ({ n, r, p }) =>
  whole(n) && whole(r) && whole(p) && n > 1 && Number.isInteger(Math.log2(n)) && 128 * n * r * p <= MOST_MEMORY;

/**
 * @param {string} text
 * @returns {Invitation | undefined}
 */
function parsed(text) {
  let value;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  const { version, id, expires, again, codes, scrypt: cost } = value ?? {};
  const [salt, hash] = [value?.salt, value?.hash].map((part) => Buffer.from(`${part}`, 'base64'));
  const right =
    version === 1 &&
    ID.test(id) &&
    id !== UNINVITED &&
    salt.length === SALT_BYTES &&
    hash.length === HASH_BYTES &&
    whole(expires) &&
    expires < FOREVER &&
    typeof again === 'boolean' &&
    (codes === 1 || codes === 2) &&
    cost &&
    bearable(cost);
  return right ? { id, salt, hash, cost, expires, again, codes } : undefined;
}

export class Invitations {
  /** @type {Map<string, Invitation>} */
  #known = new Map();
  #seen = '';
  /** @type {Promise<void> | undefined} */
  #reading;
  #key = randomBytes(32);
  #cost = USUAL;
  /** How many files are no invitations. */
  malformed = 0;

  /** @param {string} folder */
  constructor(folder) {
    this.folder = folder;
  }

  /**
   * Those that there are now, by number. Throws the error of a folder that cannot be read.
   * @returns {Promise<Map<string, Invitation>>}
   */
  async current() {
    if (this.#reading || (await this.#mark()) !== this.#seen) {
      this.#reading ??= this.#read().finally(() => {
        this.#reading = undefined;
      });
      await this.#reading;
    }
    return this.#known;
  }

  /**
   * Stands in for an invitation that is not there: as costly to check as one, the same for a number each time, and
   * right for no code.
   * @param {string} number
   * @returns {Invitation}
   */
  standIn(number) {
    const salt = createHmac('sha256', this.#key).update(number).digest().subarray(0, SALT_BYTES);
    const hash = randomBytes(HASH_BYTES);
    return { id: UNINVITED, salt, hash, cost: this.#cost, expires: FOREVER, again: true, codes: 1 };
  }

  async #mark() {
    const [folder, link] = await Promise.all([
      stat(this.folder, { bigint: true }),
      readlink(join(this.folder, '..data')).catch(() => ''),
    ]);
    return `${folder.ino} ${folder.mtimeNs} ${link}`;
  }

  async #read() {
    for (let tries = 1; ; tries += 1) {
      try {
        const mark = await this.#mark();
        const files = await this.#files();
        this.#take(files);
        this.#seen = mark;
        return;
      } catch (error) {
        if (error.code !== 'ENOENT' || tries === MOST_TRIES) throw error; // the Secret changed meanwhile
      }
    }
  }

  /** @returns {Promise<[string, string][]>} names and contents */
  async #files() {
    const names = (await readdir(this.folder)).filter((name) => !name.startsWith('.'));
    /** @type {[string, string][]} */
    const files = [];
    const one = async () => {
      for (let name = names.pop(); name !== undefined; name = names.pop()) {
        files.push([name, await readFile(join(this.folder, name), 'utf8')]);
      }
    };
    await Promise.all(Array.from({ length: MOST_FILES_OPEN }, one));
    return files;
  }

  /** @param {[string, string][]} files */
  #take(files) {
    const known = new Map();
    for (const [name, text] of files) {
      const invitation = NUMBER.test(name) ? parsed(text) : undefined;
      if (invitation) known.set(name, invitation);
    }
    this.#known = known;
    this.malformed = files.length - known.size;
    this.#cost = mostUsual([...known.values()].map(({ cost }) => cost));
    log('invitations', { count: known.size, malformed: this.malformed });
  }
}

/** @param {Cost[]} costs */
function mostUsual(costs) {
  /** @type {Map<string, number>} */
  const counts = new Map();
  let [most, usual] = [0, USUAL];
  for (const cost of costs) {
    const name = `${cost.n} ${cost.r} ${cost.p}`;
    const count = (counts.get(name) ?? 0) + 1;
    counts.set(name, count);
    if (count > most) [most, usual] = [count, cost];
  }
  return usual;
}
