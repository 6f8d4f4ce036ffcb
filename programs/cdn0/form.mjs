/** A browser-based upload's form, up to the first byte of its file. */
import { FORM_BYTES } from './config.mjs';
import { wellFormed } from './refusal.mjs';

const BOUNDARY = /^multipart\/form-data; ?boundary=(?:"([\w'()+,./:=?-]{1,70})"|([\w'+.-]{1,70}))$/i;

/** The boundary in a multipart/form-data Content-Type: RFC 2046's characters, quoted or not; no other parameter. */
export function boundaryOf(values) {
  const found = values?.length === 1 && BOUNDARY.exec(values[0]);
  wellFormed(found, 'The Content-Type must be multipart/form-data with one boundary.');
  return found[1] ?? found[2];
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: a file name must hold none
const DISPOSITION = /^form-data; name="([A-Za-z0-9-]{1,64})"(; filename="[^"\\\x00-\x1f\x7f]{0,255}")?$/;
const PART_HEADERS = new Map([
  ['content-disposition', DISPOSITION],
  ['content-type', /^[ -~]+$/],
  ['content-length', /^\d{1,15}$/],
  ['content-transfer-encoding', /^(?:binary|8bit)$/i],
]);

function partHeaders(block) {
  /** @type {Map<string, string>} */
  const headers = new Map();
  for (const line of block.split('\r\n')) {
    const [, name, value] = /^([A-Za-z-]+): ?(.*)$/.exec(line) ?? [];
    const known = name && PART_HEADERS.get(name.toLowerCase())?.test(value) && !headers.has(name.toLowerCase());
    wellFormed(known, 'A part of the form has a header that is not understood.');
    headers.set(name.toLowerCase(), value);
  }
  const disposition = DISPOSITION.exec(headers.get('content-disposition') ?? '');
  wellFormed(disposition, 'A part of the form has no name.');
  const [, name, filename] = disposition;
  return { name: name.toLowerCase(), filename, length: headers.get('content-length') };
}

/** Everything of a form up to the first byte of its file. Holds at most FORM_BYTES and one chunk. */
export class FormHead {
  /** @type {Map<string, string>} by lower-case name: S3 does not distinguish */
  fields = new Map();
  /** @type {Buffer | undefined} what there is of the file, once it begins */
  rest;
  /** @type {string | undefined} the Content-Length of the file's own part, if any */
  declared;
  /** How much came before the file. */
  size = 0;
  /** @type {Buffer} */
  #buffer = Buffer.alloc(0);
  #at = 0;
  #open;
  #close;

  /** @param {string} boundary */
  constructor(boundary) {
    this.#open = Buffer.from(`--${boundary}\r\n`);
    this.#close = Buffer.from(`\r\n--${boundary}`);
  }

  /**
   * Takes one more chunk.
   * @param {Buffer} chunk
   */
  push(chunk) {
    this.#buffer = Buffer.concat([this.#buffer, chunk]);
    while (this.#part());
    this.size = this.#at;
    const held = this.rest ? this.size : this.#buffer.length;
    wellFormed(held <= FORM_BYTES, 'The form without its file is too long.');
  }

  /** Reads the part that begins at #at; false if it is the file or not yet complete. */
  #part() {
    const start = this.#at + this.#open.length;
    const prefix = this.#buffer.subarray(this.#at, start);
    const opens = prefix.equals(this.#open.subarray(0, prefix.length));
    wellFormed(opens, 'The form must be parts, and the last one the file.');
    const end = this.#buffer.indexOf('\r\n\r\n', start - 2);
    if (end === -1) return false;
    const part = partHeaders(this.#buffer.toString('latin1', start, end));
    if (part.name === 'file') {
      this.#at = end + 4;
      this.rest = this.#buffer.subarray(this.#at);
      this.declared = part.length;
      return false;
    }
    const valueEnd = this.#buffer.indexOf(this.#close, end + 4);
    if (valueEnd === -1) return false;
    const value = this.#buffer.toString('latin1', end + 4, valueEnd);
    const plain = /^[ -~]*$/.test(value) && !part.filename && [undefined, `${value.length}`].includes(part.length);
    wellFormed(plain && !this.fields.has(part.name), 'A field of the form is repeated or not plain text.');
    this.fields.set(part.name, value);
    this.#at = valueEnd + 2;
    return true;
  }
}
