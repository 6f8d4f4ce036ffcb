/** RFC 9110 for content that never changes: preconditions, a single range, and what is answered. */

/** The content never changes; whoever has the address may have it, so no shared cache keeps it. */
const CACHING = 'private, max-age=3600, immutable';
export const EMPTY = { 'Cache-Control': 'no-store', 'Content-Length': 0 };

/** @typedef {{ start: number, end: number }} Bytes from `start` up to `end` */
/** @typedef {Record<string, string | number>} Fields */

/**
 * An IMF-fixdate in milliseconds; NaN, which compares with nothing, for any other text and for none.
 * @param {string | undefined} text
 */
export function instant(text) {
  const at = Date.parse(text ?? '');
  return new Date(at).toUTCString() === text ? at : Number.NaN;
}

/**
 * The status with which a precondition (13.2.2) ends the request, or undefined.
 * @param {import('node:http').IncomingHttpHeaders} headers
 * @param {string} etag
 * @param {number} modified
 */
function precondition(headers, etag, modified) {
  const lists = (name, ...tags) => `${headers[name]}`.split(',').some((tag) => ['*', ...tags].includes(tag.trim()));
  const other = 'if-match' in headers ? !lists('if-match', etag) : modified > instant(headers['if-unmodified-since']);
  if (other) return 412;
  const known =
    'if-none-match' in headers
      ? lists('if-none-match', etag, `W/${etag}`)
      : modified <= instant(headers['if-modified-since']);
  return known ? 304 : undefined;
}

/**
 * The bytes to send; all of them for any header but a single range (14.1.2).
 * @param {string | undefined} header
 * @param {number} length
 * @returns {Bytes & { status: number }}
 */
function select(header, length) {
  const [, first, last] = /^bytes=([0-9]*)-([0-9]*)$/i.exec(header ?? '') ?? ['', '', ''];
  const whole = { status: 200, start: 0, end: length };
  if (first + last === '' || length === 0) return whole;
  const size = BigInt(length);
  if (first !== '' && last !== '' && BigInt(last) < BigInt(first)) return whole;
  const start = first === '' ? size - BigInt(last) : BigInt(first);
  const end = first === '' || last === '' ? size : BigInt(last) + 1n;
  if (start >= size) return { status: 416, start: 0, end: 0 };
  return { status: 206, start: Number(start < 0n ? 0n : start), end: Number(end > size ? size : end) };
}

/**
 * The answer for a complete upload: its status, its headers, and the bytes to send if any.
 * @param {import('node:http').IncomingMessage} request
 * @param {number} size
 * @param {string} etag
 * @param {number} modified in milliseconds
 * @returns {{ status: number, fields: Fields, bytes?: Bytes }}
 */
export function plan({ headers, method }, size, etag, modified) {
  const verdict = precondition(headers, etag, modified);
  if (verdict === 412) return { status: 412, fields: EMPTY };
  const about = { ETag: etag, 'Last-Modified': new Date(modified).toUTCString(), 'Cache-Control': CACHING };
  if (verdict === 304) return { status: 304, fields: about };
  const ranged = method === 'GET' && (headers['if-range'] ?? etag) === etag;
  const { status, start, end } = select(ranged ? headers.range : undefined, size);
  if (status === 416) return { status, fields: { ...EMPTY, 'Content-Range': `bytes */${size}` } };
  const fields = {
    ...about,
    ...(status === 206 && { 'Content-Range': `bytes ${start}-${end - 1}/${size}` }),
    'Accept-Ranges': 'bytes',
    'Content-Disposition': 'attachment',
    'Content-Length': end - start,
    'Content-Type': 'application/octet-stream',
  };
  return { status, fields, bytes: method === 'GET' ? { start, end } : undefined };
}
