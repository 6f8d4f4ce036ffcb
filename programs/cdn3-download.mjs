/**
 * CDN3's downloads: serves complete uploads from tusd's upload directory or S3 bucket, which it only reads.
 *
 * tusd 2.8.0 locks an upload for every GET: a second request meanwhile gets a 500 after 20 s, and no download may
 * last longer than twice its --network-timeout. Complete uploads never change, so downloads need no lock.
 *
 * tusd's file store keeps an upload in two files: `<key>`, the data so far, and `<key>.info`, JSON with `Size` and
 * `SizeIsDeferred`. An upload whose data do not have the declared size is incomplete, and answered like none: 404.
 * A download under way keeps its open file, so it ends well when the expiry deletes the upload meanwhile.
 *
 * tusd's S3 store makes the object `<prefix><key>` when it completes the multipart upload, all of it at once, so what
 * is there is whole. It is read in the pod's own name (aws.mjs), which needs s3:GetObject for the prefix, and
 * s3:ListBucket for the bucket: without the latter, S3 answers 403 for what is missing, and that is a 503 here.
 *
 * Serves GET and HEAD of `<base path><key>` on --listen, with RFC 9110's preconditions and single ranges (to others
 * it sends the whole), and `GET /healthz` on --health-listen. Of one client (clients.mjs), --max-per-client requests
 * may be under way, and the next is answered 429. A download may take any time, but not stand still: a client that
 * takes less than --min-rate bytes a second is dropped, at the earliest after --grace-seconds. The kernel takes bytes
 * in steps of up to 2 MiB (measured; a third of its send buffer and more), and such a step may take --idle-seconds: 300
 * suit clients of 7 KB/s.
 * Logs one JSON line per error and a summary of all since the start every --summary-seconds; of a key only its first
 * characters, since the whole of it is what permits a download.
 */
import { createHash } from 'node:crypto';
import { constants, statSync } from 'node:fs';
import { open, stat } from 'node:fs/promises';
import http from 'node:http';
import { isIP } from 'node:net';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

import { codeOf, CredentialsError, FlagError, S3_FLAGS, S3_USAGE, storeOf } from './aws.mjs';
import { clientOf, Concurrency, Progress } from './clients.mjs';

const USAGE = `usage: cdn3-download.mjs --listen [ADDRESS]:PORT --health-listen [ADDRESS]:PORT --upload-dir DIR
  [--base-path /PATH/] [--max-connections NUMBER] [--max-per-client NUMBER] [--header-seconds SECONDS]
  [--min-rate BYTES] [--grace-seconds SECONDS] [--idle-seconds SECONDS] [--drain-seconds SECONDS]
  [--summary-seconds SECONDS]
  or, in place of --upload-dir: ${S3_USAGE}`;
const DEFAULTS = {
  listen: '', 'health-listen': '', 'upload-dir': '', 'base-path': '/attachments/',
  'max-connections': '512', 'max-per-client': '64', 'header-seconds': '5',
  'min-rate': '4096', 'grace-seconds': '60', 'idle-seconds': '300',
  'drain-seconds': '50', 'summary-seconds': '60',
};

const KEY = /^[A-Za-z0-9_-]{20}$/;
const FLAGS = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
/** Opening a name that is not there, a link, a socket. */
const MISSING = new Set(['ENOENT', 'ELOOP', 'ENXIO']);
/** tusd's own infos are about 300 bytes long. */
const INFO_LIMIT = 16 * 1024;
const CHUNK = 64 * 1024;
/** The content never changes; whoever has the address may have it, so no shared cache keeps it. */
const CACHING = 'private, max-age=3600, immutable';
const EMPTY = { 'Cache-Control': 'no-store', 'Content-Length': 0 };
/** Longer than the 90 s after which Traefik drops an idle connection, so that it never meets a closed one. */
const KEEP_ALIVE_MS = 120_000;
/** Without a byte from S3 for so long, a download has failed. */
const S3_SILENCE_MS = 30_000;
/** With one of these, a request is answered from what a HEAD tells. */
const CONDITIONS = ['range', 'if-range', 'if-match', 'if-none-match', 'if-modified-since', 'if-unmodified-since'];
const STRONG_ETAG = /^"[!#-~]*"$/;
/** A client that sends more requests ahead of their answers is dropped; proxies send none. */
const MAX_PIPELINED = 4;

/** The client has gone. */
class Gone extends Error {}

/** There is no such object. */
class Missing extends Error {}

/** Answers by status, bytes of content, clients that left early, that were too slow, connections over their number. */
const totals = { answers: {}, bytes: 0, gone: 0, slow: 0, dropped: 0 };

function log(event, fields = {}) {
  console.log(JSON.stringify({ time: new Date().toISOString(), event, ...fields }));
}

function stop(problem) {
  console.error(`cdn3-download: ${problem}\n${USAGE}`);
  process.exit(2);
}

// --- configuration ---------------------------------------------------------------------------------------------

/** Without an address it is every one of the pod's, of IPv6 and of IPv4. */
function address(name, text) {
  const [whole, bracketed, plain, port] = /^(?:\[([^\]]+)\]|([^:]+)|):([0-9]{1,5})$/.exec(text) ?? [];
  const host = bracketed ?? plain;
  if (!whole || (host && !isIP(host)) || Number(port) > 65535) stop(`--${name} must be an IP address and a port, or :PORT`);
  return { host, port: Number(port) };
}

/**
 * A storage has `download(request, response, key)`, which answers, `ready()`, `start()`, and `misses(error)`, whether a
 * failure of a download means that there is no such upload.
 */
function directoryOf(path) {
  if (!statSync(path, { throwIfNoEntry: false })?.isDirectory()) stop('--upload-dir is not a directory');
  const mounted = () => stat(path).then((found) => found.isDirectory(), () => false);
  return {
    start: () => {},
    ready: mounted,
    // While the directory is not there, a missing file proves nothing.
    misses: async (error) => MISSING.has(error.code) && mounted(),
    download: (request, response, key) => downloadFile(path, request, response, key),
  };
}

function bucketOf(flags) {
  const report = ({ message }) => log('credentials-error', { reason: message });
  let store;
  try {
    store = storeOf(flags, { session: 'cdn3-download', report });
  } catch (error) {
    if (error instanceof FlagError || error instanceof CredentialsError) stop(error.message);
    throw error;
  }
  return {
    start: () => store.credentials.obtain(),
    ready: async () => store.credentials.obtained,
    misses: async (error) => error instanceof Missing,
    download: (request, response, key) => downloadObject(store, request, response, key),
  };
}

function configure() {
  const options = Object.entries(DEFAULTS).map(([name, value]) => [name, { type: 'string', default: value }]);
  let values;
  try {
    ({ values } = parseArgs({ options: { ...Object.fromEntries(options), ...S3_FLAGS } }));
  } catch (error) {
    stop(error.message);
  }
  const whole = (name) => {
    if (!/^[1-9][0-9]{0,5}$/.test(values[name])) stop(`--${name} must be a whole number, 1 to 999999`);
    return Number(values[name]);
  };
  const inS3 = Object.keys(S3_FLAGS).some((name) => values[name] !== undefined);
  if (inS3 && values['upload-dir']) stop('--upload-dir and --s3-bucket exclude each other');
  const storage = inS3 ? bucketOf(values) : directoryOf(values['upload-dir']);
  const basePath = values['base-path'];
  if (!/^\/([A-Za-z0-9_-]+\/)*$/.test(basePath)) stop('--base-path must begin and end with a slash');
  return {
    listen: address('listen', values.listen),
    healthListen: address('health-listen', values['health-listen']),
    storage,
    basePath,
    maxConnections: whole('max-connections'),
    maxPerClient: whole('max-per-client'),
    headerMs: whole('header-seconds') * 1000,
    floor: {
      rate: whole('min-rate'),
      grace: whole('grace-seconds') * 1000,
      most: Math.max(whole('grace-seconds'), whole('idle-seconds')) * 1000,
    },
    drainMs: whole('drain-seconds') * 1000,
    summaryMs: whole('summary-seconds') * 1000,
  };
}

const config = configure();

// --- files -----------------------------------------------------------------------------------------------------

/** The declared size in bytes, or undefined when the info gives none (deferred, or not what tusd writes). */
async function declaredSize(directory, key) {
  await using file = await open(join(directory, `${key}.info`), FLAGS);
  if (!(await file.stat()).isFile()) return undefined;
  const { bytesRead, buffer } = await file.read(Buffer.alloc(INFO_LIMIT), 0, INFO_LIMIT, 0);
  try {
    const info = JSON.parse(buffer.toString('utf8', 0, bytesRead));
    return info?.SizeIsDeferred === false ? info.Size : undefined;
  } catch {
    return undefined;
  }
}

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
async function downloadFile(directory, request, response, key) {
  await using file = await open(join(directory, key), FLAGS);
  const found = await file.stat({ bigint: true });
  const size = Number(found.size);
  if (!found.isFile() || (await declaredSize(directory, key)) !== size) return refuse(response, 404);
  const digest = createHash('sha256').update(`${size} ${found.mtimeNs}`).digest('base64url');
  const modified = Number(found.mtimeNs / 1_000_000_000n) * 1000;
  const { status, fields, bytes } = plan(request, size, `"${digest.slice(0, 22)}"`, modified);
  begin(response, status, fields);
  if (bytes) await send(piecesOfFile(file, bytes.start, bytes.end), response);
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

/** What the head of S3's answer says of the whole object; throws where it does not. */
function describe({ headers }) {
  const [size, etag, modified] = [Number(headers['content-length']), headers.etag, instant(headers['last-modified'])];
  const told = /^[0-9]+$/.test(headers['content-length']) && STRONG_ETAG.test(etag) && !Number.isNaN(modified);
  if (!told) throw new Error('S3 does not describe the object');
  return [size, etag, modified];
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
async function downloadObject(store, request, response, key) {
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
    const length = bytes ? bytes.end - bytes.start : 0;
    const range = status === 206 && { range: `bytes=${bytes.start}-${bytes.end - 1}` };
    const same = { 'if-match': etag, ...range };
    const content = plain || !bytes ? found : await ask(store, 'GET', key, same, status, signal);
    begin(response, status, fields);
    if (bytes) await send(piecesOf(content, length), response);
    response.end();
  } catch (error) {
    controller.abort(error); // ends what is left of S3's answer; the first reason counts
    throw signal.reason;
  } finally {
    socket.off('close', leave);
  }
}

// --- RFC 9110 --------------------------------------------------------------------------------------------------

/** An IMF-fixdate in milliseconds; NaN, which compares with nothing, for any other text and for none. */
function instant(text) {
  const at = Date.parse(text);
  return new Date(at).toUTCString() === text ? at : NaN;
}

/** The status with which a precondition (13.2.2) ends the request, or undefined. */
function precondition(headers, etag, modified) {
  const lists = (name, ...tags) => headers[name].split(',').some((tag) => ['*', ...tags].includes(tag.trim()));
  const other = 'if-match' in headers ? !lists('if-match', etag) : modified > instant(headers['if-unmodified-since']);
  if (other) return 412;
  const known = 'if-none-match' in headers
    ? lists('if-none-match', etag, `W/${etag}`)
    : modified <= instant(headers['if-modified-since']);
  return known ? 304 : undefined;
}

/** The bytes to send, from `start` up to `end`; all of them for any header but a single range (14.1.2). */
function select(header, length) {
  const [, first, last] = /^bytes=([0-9]*)-([0-9]*)$/i.exec(header ?? '') ?? ['', '', ''];
  const whole = { status: 200, start: 0, end: length };
  if (first + last === '' || length === 0) return whole;
  const size = BigInt(length);
  if (first !== '' && last !== '' && BigInt(last) < BigInt(first)) return whole;
  const start = first === '' ? size - BigInt(last) : BigInt(first);
  const end = first === '' || last === '' ? size : BigInt(last) + 1n;
  if (start >= size) return { status: 416 };
  return { status: 206, start: Number(start < 0n ? 0n : start), end: Number(end > size ? size : end) };
}

/** The answer for a complete upload, `modified` in milliseconds: status, headers, and the bytes to send if any. */
function plan({ headers, method }, size, etag, modified) {
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
  return { status, fields, bytes: method === 'GET' && { start, end } };
}

// --- one request -----------------------------------------------------------------------------------------------

function begin(response, status, fields) {
  totals.answers[status] = (totals.answers[status] ?? 0) + 1;
  response.writeHead(status, { 'X-Content-Type-Options': 'nosniff', ...fields });
}

function refuse(response, status, fields = {}) {
  begin(response, status, { ...EMPTY, ...fields });
  response.end();
}

/** Downloads under way. */
const readers = new Set();

function dropSlow() {
  for (const { socket, progress, writing } of readers) {
    if (!writing || !progress.late(Date.now())) continue;
    totals.slow += 1;
    socket.destroy();
  }
}

/** Sends piece after piece, each once the kernel took the one before. Throws Gone. */
async function send(pieces, response) {
  const { socket } = response.req;
  const reader = { socket, progress: new Progress(config.floor, Date.now()), writing: false };
  readers.add(reader);
  let idleSince = Date.now();
  let fail;
  const leave = () => fail?.(new Gone());
  socket.once('close', leave);
  try {
    for await (const piece of pieces) {
      if (socket.destroyed) throw new Gone();
      reader.progress.pause(Date.now() - idleSince);
      reader.writing = true;
      await new Promise((resolve, reject) => {
        fail = reject;
        response.write(piece, (error) => (error ? reject(new Gone()) : resolve()));
      });
      reader.writing = false;
      idleSince = Date.now();
      reader.progress.moved(piece.length, idleSince);
      totals.bytes += piece.length;
    }
  } finally {
    readers.delete(reader);
    socket.off('close', leave);
  }
}

async function handle(request, response) {
  const { method, socket, url } = request;
  const key = url.startsWith(config.basePath) ? url.slice(config.basePath.length) : '';
  const leave = requests.enter(clientOf(request));
  response.once('close', () => leave?.());
  try {
    if (!leave) refuse(response, 429, { 'Retry-After': '5' });
    else if (!KEY.test(key)) refuse(response, 404);
    else if (method !== 'GET' && method !== 'HEAD') refuse(response, 405, { Allow: 'GET, HEAD' });
    else await config.storage.download(request, response, key);
  } catch (error) {
    if (error instanceof Gone) totals.gone += 1;
    else if (await config.storage.misses(error)) refuse(response, 404);
    else {
      log('error', { key: `${key.slice(0, 4)}…`, code: error.code ?? error.message });
      if (response.headersSent) socket.destroy();
      else refuse(response, 503, { 'Retry-After': '10' });
    }
  }
}

// --- the servers -----------------------------------------------------------------------------------------------

/** How many answers each connection waits for. */
const connections = new Map();
const requests = new Concurrency({ total: config.maxConnections, perClient: config.maxPerClient });
let stopping = false;

function accept(socket) {
  connections.set(socket, { waiting: 0 });
  socket.once('close', () => connections.delete(socket));
}

function take(request, response) {
  const { socket } = request;
  const connection = connections.get(socket);
  connection.waiting += 1;
  if (connection.waiting > MAX_PIPELINED) return void socket.destroy();
  response.once('close', () => {
    connection.waiting -= 1;
    // Half closed only, so that the process lives until the client has everything and closes its side.
    if (stopping && connection.waiting === 0) socket.end();
  });
  return handle(request, response);
}

async function health(request, response) {
  const known = request.url.split('?', 1)[0] === '/healthz';
  const ready = known && (await config.storage.ready());
  response.writeHead(!known ? 404 : ready ? 200 : 503, { 'Content-Type': 'application/json', Connection: 'close' });
  response.end(JSON.stringify(known ? { ready } : { error: 'no such path' }));
}

function serve({ host, port }, server) {
  server.on('error', (error) => {
    if (server.listening) log('error', { code: error.code });
    else stop(`cannot listen on ${host}:${port} (${error.code})`);
  });
  server.listen(port, host, () => log('listening', { host, port: server.address().port }));
}

function summary() {
  log('summary', { connections: connections.size, ...totals });
}

const server = http.createServer({
  headersTimeout: config.headerMs,
  requestTimeout: config.headerMs,
  connectionsCheckingInterval: 1000,
  keepAliveTimeout: KEEP_ALIVE_MS,
});
const probes = http.createServer(health);
server.timeout = config.floor.most;
server.maxConnections = config.maxConnections;
server.on('connection', accept).on('request', take).on('drop', () => { totals.dropped += 1; });
serve(config.listen, server);
serve(config.healthListen, probes);
setInterval(summary, config.summaryMs).unref();
setInterval(dropSlow, 1000).unref();
config.storage.start();

for (const signal of ['SIGTERM', 'SIGINT']) {
  process.once(signal, () => {
    log('stopping', { signal, connections: connections.size });
    stopping = true;
    process.on('exit', summary);
    probes.close();
    server.close();
    for (const [socket, { waiting }] of connections) if (waiting === 0) socket.destroy();
    setTimeout(() => process.exit(0), config.drainMs).unref();
  });
}
