/**
 * Messages of Protocol Buffers, proto3, as far as our programs have them ("Encoding" of
 * protobuf.dev/programming-guides), and their form in gRPC.
 */

/** Bytes that are no message. */
export class Malformed extends Error {}

/** @typedef {'bytes' | 'string' | 'bool' | 'uint64' | 'enum' | Schema} Kind uint64 is a bigint, enum a number */
/** @typedef {{ [name: string]: [number, Kind] }} Schema number and kind of each field, by its name */

const VARINT = 0;
const FIXED64 = 1;
const BYTES = 2;
const GROUP = 3;
const GROUP_END = 4;
const FIXED32 = 5;
const MOST_GROUPS = 100;
const NOTHING = Buffer.alloc(0);
const DEFAULTS = { bytes: NOTHING, string: '', bool: false, uint64: 0n, enum: 0 };
const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

class Reader {
  position = 0;

  /** @param {Buffer} bytes */
  constructor(bytes) {
    this.bytes = bytes;
  }

  get ended() {
    return this.position >= this.bytes.length;
  }

  varint() {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      if (this.ended) throw new Malformed('a number is cut off');
      const byte = this.bytes[this.position++];
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return BigInt.asUintN(64, value);
    }
    throw new Malformed('a number is too long');
  }

  tag() {
    const tag = this.varint();
    if (tag >> 3n === 0n || tag > 0xffffffffn) throw new Malformed('a field has no number');
    return { number: Number(tag >> 3n), wire: Number(tag & 7n) };
  }

  /** @param {number | bigint} length */
  take(length) {
    if (length > this.bytes.length - this.position) throw new Malformed('a field is cut off');
    const begin = this.position;
    this.position += Number(length);
    return this.bytes.subarray(begin, this.position);
  }

  /**
   * The content of a field; nothing of a group, which no message of ours has.
   * @param {{ number: number, wire: number }} tag
   * @returns {bigint | Buffer | undefined}
   */
  content({ number, wire }, depth = 0) {
    if (wire === VARINT) return this.varint();
    if (wire === BYTES) return this.take(this.varint());
    if (wire === FIXED64) return this.take(8);
    if (wire === FIXED32) return this.take(4);
    if (wire !== GROUP || depth >= MOST_GROUPS) throw new Malformed('a field is of no wire type');
    for (;;) {
      const inner = this.tag();
      if (inner.wire !== GROUP_END) this.content(inner, depth + 1);
      else if (inner.number === number) return undefined;
      else throw new Malformed('a group ends that did not begin');
    }
  }
}

/**
 * @param {Kind} kind
 * @param {any} content
 */
function read(kind, content) {
  if (kind === 'bytes') return content;
  if (kind === 'uint64') return content;
  if (kind === 'bool') return content !== 0n;
  if (kind === 'enum') return Number(BigInt.asIntN(32, content));
  try {
    return text.decode(content);
  } catch {
    throw new Malformed('a text is not UTF-8');
  }
}

/**
 * The fields of a message, one after the other. Throws Malformed.
 * @param {Buffer} bytes
 */
export function* fieldsOf(bytes) {
  const reader = new Reader(bytes);
  while (!reader.ended) {
    const tag = reader.tag();
    yield { ...tag, content: reader.content(tag) };
  }
}

/**
 * The contents of the fields of a number that are bytes, texts or messages. Throws Malformed.
 * @param {Buffer} bytes
 * @param {number} number
 */
export const contentsOf = (bytes, number) =>
  [...fieldsOf(bytes)]
    .filter((field) => field.number === number && field.wire === BYTES)
    .map(({ content }) => /** @type {Buffer} */ (content));

/**
 * The fields of a message, with the defaults of those that it leaves out. Unknown fields are skipped, as are known ones
 * of another wire type. Throws Malformed.
 * @param {Schema} schema without messages in it
 * @param {Buffer} bytes
 * @returns {Record<string, any>}
 */
export function decode(schema, bytes) {
  const fields = new Map(Object.entries(schema).map(([name, [number, kind]]) => [number, { name, kind }]));
  const found = Object.fromEntries(Object.entries(schema).map(([name, [, kind]]) => [name, DEFAULTS[`${kind}`]]));
  for (const { number, wire, content } of fieldsOf(bytes)) {
    const field = fields.get(number);
    const right = field?.kind === 'bytes' || field?.kind === 'string' ? BYTES : VARINT;
    if (field && wire === right) found[field.name] = read(field.kind, content);
  }
  return found;
}

/** @param {bigint} value */
function varint(value) {
  const bytes = [];
  for (; value > 0x7fn; value >>= 7n) bytes.push(Number(value & 0x7fn) | 0x80);
  return Buffer.from([...bytes, Number(value)]);
}

/**
 * A field of bytes or text, or of a message that is given as its fields.
 * @param {number} number
 * @param {(string | Buffer)[]} content
 */
export function field(number, ...content) {
  const body = Buffer.concat(content.map((part) => Buffer.from(part)));
  return Buffer.concat([varint(BigInt((number << 3) | BYTES)), varint(BigInt(body.length)), body]);
}

/**
 * A field of a number, an enum or a boolean.
 * @param {number} number
 * @param {number | bigint | boolean} value
 */
export const numberField = (number, value) =>
  Buffer.concat([varint(BigInt((number << 3) | VARINT)), varint(BigInt.asUintN(64, BigInt(value)))]);

/**
 * The bytes of a message. Fields that are undefined, and those with their defaults, are left out.
 * @param {Schema} schema
 * @param {Record<string, any>} message
 * @returns {Buffer}
 */
export function encode(schema, message) {
  const parts = [];
  for (const [name, [number, kind]] of Object.entries(schema)) {
    const value = message[name];
    if (value === undefined) continue;
    if (typeof kind === 'object') parts.push(field(number, encode(kind, value)));
    else if (kind === 'bytes' || kind === 'string') {
      if (value.length > 0) parts.push(field(number, value));
    } else if (BigInt(value) !== 0n) parts.push(numberField(number, value));
  }
  return Buffer.concat(parts);
}

/** The bytes before a message of gRPC: no compression, and its length. */
export const HEADER_BYTES = 5;

/**
 * A message as gRPC sends it.
 * @param {Buffer} message
 */
export function framed(message) {
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUInt32BE(message.length, 1);
  return Buffer.concat([header, message]);
}
