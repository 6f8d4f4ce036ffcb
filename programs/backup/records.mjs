/**
 * Lines of an archive and their checksums, as docs/migration.md defines them: JSON in one normal form, and a sum of
 * digests that does not depend on the order of records.
 */
import { createHash } from 'node:crypto';

const MODULUS = 2n ** 256n;
const ASTRAL = /[\ud800-\udfff]/;

/** Code points in order: that of UTF-16 differs beyond the basic plane. */
function byCodePoint(/** @type {string} */ one, /** @type {string} */ other) {
  if (ASTRAL.test(one) || ASTRAL.test(other)) return Buffer.compare(Buffer.from(one), Buffer.from(other));
  return one < other ? -1 : Number(one > other);
}

/**
 * JSON without spaces, keys sorted by code point, no character escaped that need not be.
 * @param {any} value
 * @returns {string}
 */
export function canonical(value) {
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`;
  if (value === null || typeof value !== 'object') return JSON.stringify(value);
  const members = Object.keys(value).sort(byCodePoint);
  return `{${members.map((name) => `${JSON.stringify(name)}:${canonical(value[name])}`).join(',')}}`;
}

/** @param {string} text */
export const digest = (text) => createHash('sha256').update(text).digest('hex');

/**
 * One spelling for each value of DynamoDB's numbers: `<sign><digits>E<exponent>`, without zeros at either end.
 * @param {string} text
 */
export function normalNumber(text) {
  const found = /^([+-]?)(\d*)(?:\.(\d*))?(?:[eE]([+-]?\d+))?$/.exec(text);
  if (!found || !/\d/.test(text)) throw new Error('a number of DynamoDB that is none');
  const [, sign, whole, fraction = '', exponent = '0'] = found;
  const digits = `${whole}${fraction}`.replace(/^0+/, '');
  const short = digits.replace(/0+$/, '');
  if (!short) return '0';
  return `${sign === '-' ? '-' : ''}${short}E${Number(exponent) - fraction.length + digits.length - short.length}`;
}

/** @type {Record<string, (inner: any) => any>} */
const NORMAL = {
  N: normalNumber,
  SS: (several) => [...several].sort(byCodePoint),
  NS: (several) => several.map(normalNumber).sort(byCodePoint),
  BS: (several) => [...several].sort(byCodePoint),
  L: (several) => several.map(normal),
  M: (members) => normalMembers(members),
};

function normal(/** @type {Record<string, any>} */ attribute) {
  const [[kind, inner]] = Object.entries(attribute);
  return { [kind]: NORMAL[kind] ? NORMAL[kind](inner) : inner };
}

function normalMembers(/** @type {Record<string, any>} */ members) {
  return Object.fromEntries(Object.entries(members).map(([name, value]) => [name, normal(value)]));
}

/** @typedef {{ text: string, digest: string }} Line */

/**
 * The line of a record that is its own normal form: everything but an item.
 * @param {Record<string, any>} document
 * @returns {Line}
 */
export function lineOf(document) {
  const text = canonical(document);
  return { text, digest: digest(text) };
}

/**
 * The line of an item, as DynamoDB's JSON has it.
 * @param {Record<string, any>} item
 * @returns {Line}
 */
export function itemLine(item) {
  return { text: canonical({ Item: item }), digest: digest(canonical({ Item: normalMembers(item) })) };
}

/** A number of records and their checksum. */
export class Tally {
  count = 0;
  #sum = 0n;

  /** @param {Line} line */
  add(line) {
    this.count += 1;
    this.#sum = (this.#sum + BigInt(`0x${line.digest}`)) % MODULUS;
  }

  get checksum() {
    return this.#sum.toString(16).padStart(64, '0');
  }
}
