/** Where downloads come from: tusd's upload directory, or its S3 bucket. Both are only read. */
import { createHash } from 'node:crypto';
import { open, stat } from 'node:fs/promises';
import { join } from 'node:path';

import { codeOf, storeOf } from '../lib/s3.mjs';
import { instant, plan } from './conditions.mjs';
import { begin, Gone, refuse } from './readers.mjs';
import { declaredSize, OPEN_FLAGS } from './uploads.mjs';

/** Opening a name that is not there, a link, a socket. */
const MISSING = new Set(['ENOENT', 'ELOOP', 'ENXIO']);
const CHUNK = 64 * 1024;
/** Without a byte from S3 for so long, a download has failed. */
const S3_SILENCE_MS = 30_000;
/** With one of these, a request is answered from what a HEAD tells. */
const CONDITIONS = ['range', 'if-range', 'if-match', 'if-none-match', 'if-modified-since', 'if-unmodified-since'];
const STRONG_ETAG = /^"[!#-~]*"$/;

/** There is no such object. */
class Missing extends Error {}

/** @typedef {import('node:http').IncomingMessage} Request */
/** @typedef {import('./readers.mjs').Response} Response */
/** @typedef {import('./readers.mjs').Readers} Readers */

/**
 * A storage has `download(request, response, key)`, which answers, `ready()`, `start()`, and `misses(error)`, whether a
 * failure of a download means that there is no such upload.
 * @typedef {{
 *   start: () => void, ready: () => Promise<boolean>, misses: (error: NodeJS.ErrnoException) => Promise<boolean>,
 *   download: (request: Request, response: Response, key: string) => Promise<unknown>,
 * }} Storage
 */

/**
 * @param {string} path
 * @param {Readers} readers
 * @returns {Storage}
 */
export function directoryOf(path, readers) {
  const mounted = () =>
    stat(path).then(
      (found) => found.isDirectory(),
      () => false,
    );
  return {
    start: () => {},
    ready: mounted,
    // While the directory is not there, a missing file proves nothing.
    misses: async (error) => MISSING.has(error.code ?? '') && mounted(),
    download: (request, response, key) => downloadFile(path, readers, request, response, key),
  };
}

/**
 * @param {import('../lib/flags.mjs').Flags} flags
 * @param {Readers} readers
 * @returns {Storage}
 */
export function bucketOf(flags, readers) {
  const store = storeOf(flags, 'cdn3-download');
  return {
    start: () => store.credentials.obtain(),
    ready: async () => store.credentials.obtained,
    misses: async (error) => error instanceof Missing,
    download: (request, response, key) => downloadObject(store, readers, request, response, key),
  };
}

// --- files -----------------------------------------------------------------------------------------------------

/** The file's bytes from `start` up to `end`, in one buffer: each piece must be sent before the next is asked for. */
async function* piecesOfFile(file, start, end) {
  const buffer = Buffer.allocUnsafeSlow(Math.min(CHUNK, end - start));
  for (let at = start; at < end; ) {
    const { bytesRead } = await file.read(buffer, 0, Math.min(CHUNK, end - at), at);
    if (bytesRead === 0) throw new Error('the file became shorter');
    yield buffer.subarray(0, bytesRead);
    at += bytesRead;
  }
}

/** Answers for an upload in a directory; fails when a file of it cannot be opened. */
async function downloadFile(directory, readers, request, response, key) {
  await using file = await open(join(directory, key), OPEN_FLAGS);
  const found = await file.stat({ bigint: true });
  const size = Number(found.size);
  if (!found.isFile() || (await declaredSize(directory, key)) !== size) return refuse(response, 404);
  const digest = createHash('sha256').update(`${size} ${found.mtimeNs}`).digest('base64url');
  const modified = Number(found.mtimeNs / 1_000_000_000n) * 1000;
  const { status, fields, bytes } = plan(request, size, `"${digest.slice(0, 22)}"`, modified);
  begin(response, status, fields);
  if (bytes) await readers.send(piecesOfFile(file, bytes.start, bytes.end), response);
  return response.end();
}

// --- objects ---------------------------------------------------------------------------------------------------

/** S3's answer of that status; throws Missing, or an error that tells S3's code. */
async function ask({ bucket, prefix }, method, key, headers, expected, signal) {
  const answer = await bucket.read(method, `${prefix}${key}`, headers, signal);
  if (answer.statusCode === expected) return answer;
  const [code] = await codeOf(answer);
  const missing = answer.statusCode === 404 && (method === 'HEAD' || code === 'NoSuchKey');
  throw missing ? new Missing() : new Error(['S3 answered', answer.statusCode, code].join(' ').trim());
}

/** The size, the ETag and the time of the whole object, from the head of S3's answer; throws where it lacks one. */
function describe({ headers }) {
  const [size, etag, modified] = [Number(headers['content-length']), headers.etag, instant(headers['last-modified'])];
  const complete = /^[0-9]+$/.test(headers['content-length']) && STRONG_ETAG.test(etag) && !Number.isNaN(modified);
  if (!complete) throw new Error('S3 does not describe the object');
  return [size, etag, modified];
}

/**
 * The object, or a range of it, as it was when its HEAD was answered.
 */
async function askAgain(store, key, status, etag, { start, end }, signal) {
  const range = status === 206 ? { range: `bytes=${start}-${end - 1}` } : {};
  return ask(store, 'GET', key, { 'if-match': etag, ...range }, status, signal);
}

/** The bytes of an answer, of which there must be `length`. */
async function* piecesOf(answer, length) {
  const chunks = answer[Symbol.asyncIterator]();
  let size = 0;
  for (;;) {
    const timer = setTimeout(() => answer.destroy(new Error('S3 is silent')), S3_SILENCE_MS);
    const { done, value } = await chunks.next().finally(() => clearTimeout(timer));
    if (done) break;
    size += value.length;
    yield value;
  }
  if (size !== length) throw new Error('S3 sent another number of bytes');
}

/** Answers for an upload in S3. A plain GET takes one request, one with conditions a HEAD before. */
async function downloadObject(store, readers, request, response, key) {
  const { headers, method, socket } = request;
  const controller = new AbortController();
  const { signal } = controller;
  const leave = () => controller.abort(new Gone());
  socket.once('close', leave);
  try {
    if (socket.destroyed) throw new Gone();
    const plain = method === 'GET' && !CONDITIONS.some((name) => name in headers);
    const found = await ask(store, plain ? 'GET' : 'HEAD', key, {}, 200, signal);
    if (!plain) found.resume();
    const [size, etag, modified] = describe(found);
    const { status, fields, bytes } = plan(request, size, etag, modified);
    const content = plain || !bytes ? found : await askAgain(store, key, status, etag, bytes, signal);
    begin(response, status, fields);
    if (bytes) await readers.send(piecesOf(content, bytes.end - bytes.start), response);
    response.end();
  } catch (error) {
    controller.abort(error); // ends what is left of S3's answer; the first reason counts
    throw signal.reason;
  } finally {
    socket.off('close', leave);
  }
}
