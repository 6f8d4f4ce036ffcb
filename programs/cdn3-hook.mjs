/**
 * CDN3's pre-create hook: decides whether tusd may create an upload, and under which name.
 *
 * tusd 2.9.1 (pkg/hooks/http, pkg/handler) sends each creation as `POST` with the JSON
 * `{"Type":"pre-create","Event":{"Upload":{...},"HTTPRequest":{"Header":{name:[values]},...}}}`; the headers are
 * all of the client's, Authorization included. What follows from its protocol:
 * - Any answer but 2xx becomes a 500 for the client, a 5xx or a broken connection is tried three times in all,
 *   one second apart, and there is no time limit. So a refusal is a 200 with `RejectUpload` and `HTTPResponse`
 *   (whose `Body` is a string), and only a call that tusd cannot have made gets a 4xx here.
 * - `ChangeFileInfo.ID` becomes the file's name, opened with O_CREAT|O_TRUNC: an accepted second creation of a
 *   key destroys the first. `ChangeFileInfo.MetaData` replaces what the client sent.
 * - A header's first value is the one that counts there, and of a repeated metadata key the last: whatever is
 *   repeated is refused here, so both programs always read the same.
 * - `Upload-Concat: partial` and `final` arrive here like any upload (a final one after its parts were looked up).
 * - With `Upload-Defer-Length`, a PATCH with a Content-Length is checked against nothing, `--max-size` included.
 *
 * Credentials are Whisper's (ExternalServiceCredentials): HTTP Basic, username `attachments/<key>`, password
 * `<unix seconds>:<signature>`, signature = the first 10 bytes, in lower-case hex, of
 * HMAC-SHA256(secret, "attachments/<key>:<unix seconds>"); key = 15 random bytes in base64url.
 *
 * tusd keeps uploads in a directory, or in S3. There `<prefix><key>.info` appears when an upload is created, and
 * `<prefix><key>` when it is complete; the upload's own id becomes `<key>+<id of the multipart upload>`. Both objects
 * are looked for with a HEAD in the pod's own name (aws.mjs), which needs s3:GetObject for the prefix, and
 * s3:ListBucket for the bucket: without the latter, S3 answers 403 for what is missing, which proves nothing, so every
 * upload is refused with a 503.
 *
 * In a directory an upload must fit: the file system keeps --min-free bytes, and what other uploads still lack of their
 * declared sizes is counted as used, for as long as they go on. Half of what is then left is the most that one client
 * may have under way, so that nobody takes all the space by announcing uploads. 507 otherwise (RFC 4918, 11.5).
 *
 * A call is answered within some seconds, whatever the storage does: tusd would wait for ever, and the client with it.
 *
 * Serves `POST /hooks` and `GET /healthz` on --listen (loopback only), and `GET /healthz` alone on
 * --health-listen, which a kubelet can reach. Logs one JSON line per event, without keys or credentials.
 */
import { createHash, createHmac, timingSafeEqual } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { lstat, readdir, readFile, stat, statfs } from 'node:fs/promises';
import http from 'node:http';
import { isIP } from 'node:net';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

import { CredentialsError, FlagError, S3_FLAGS, S3_USAGE, storeOf } from './aws.mjs';
import { clientOf } from './clients.mjs';

const USAGE = `usage: cdn3-hook.mjs --listen 127.0.0.1:PORT --upload-dir DIR --secret-file FILE --max-size BYTES
  [--health-listen [ADDRESS]:PORT] [--max-age SECONDS] [--clock-skew SECONDS] [--reserve SECONDS] [--min-free BYTES]
  or, in place of --upload-dir and --min-free: ${S3_USAGE}`;

/** A call with more than this was made of a client's oversized headers: it is refused unread. */
const CALL_LIMIT = 64 * 1024;
/** Go's limit of 1 MiB of headers, every byte escaped as \u00XX, twice: more than tusd can send. */
const DRAIN_LIMIT = 16 * 1024 * 1024;
/** Longer than the 90 s after which Go's client drops an idle connection, so that it never meets a closed one. */
const KEEP_ALIVE_MS = 120_000;
/** For one call. */
const DEADLINE_MS = 5_000;
/** For the answers of S3 about one key. */
const S3_MS = 4_000;
/** An upload that got no byte for so long is no longer expected to go on. */
const EXPECTED_MS = 600_000;
/** What uploads still lack is looked up this often at most. */
const LOOK_MS = 2_000;

const KEY = /^[A-Za-z0-9_-]{20}$/;
const BASIC = /^Basic +([A-Za-z0-9+/]+={0,2})$/i;
const PASSWORD = /^(0|[1-9][0-9]{0,11}):([0-9a-f]{20})$/;
const METADATA_PAIR = /^([!-+\--~]+)(?: ([A-Za-z0-9+/]*={0,2}))?$/;
const RETRY_LATER = { 'Retry-After': '60' };
const CHALLENGE = { 'WWW-Authenticate': 'Basic realm="attachments", charset="UTF-8"' };

/** A refusal for tusd's client: the status, a fixed sentence that repeats nothing of the request, and headers. */
class Refusal extends Error {
  constructor(status, reason, headers = {}) {
    super(reason);
    this.status = status;
    this.headers = headers;
  }
}

/** A request to this program that tusd cannot have made: answered with a 4xx of its own. */
class BadCall extends Error {
  constructor(status, reason, headers = {}) {
    super(reason);
    this.status = status;
    this.headers = headers;
  }
}

function log(event, fields = {}) {
  console.log(JSON.stringify({ time: new Date().toISOString(), event, ...fields }));
}

function stop(problem) {
  console.error(`cdn3-hook: ${problem}\n${USAGE}`);
  process.exit(2);
}

// --- configuration ---------------------------------------------------------------------------------------------

function seconds(name, text) {
  if (!/^[0-9]{1,9}$/.test(text)) stop(`--${name} must be a whole number of seconds`);
  return Number(text);
}

/** Without an address it is every one of the pod's, of IPv6 and of IPv4. */
function address(name, text) {
  const [whole, bracketed, plain, port] = /^(?:\[([^\]]+)\]|([^:]+)|):([0-9]{1,5})$/.exec(text ?? '') ?? [];
  const host = bracketed ?? plain;
  if (!whole || (host && !isIP(host)) || Number(port) > 65535) stop(`--${name} must be an IP address and a port, or :PORT`);
  return { host, port: Number(port) };
}

/** The 32 bytes whose standard base64 the file holds (Whisper's tus.userAuthenticationTokenSharedSecret). */
function readSecret(file) {
  let text;
  try {
    text = readFileSync(file, 'latin1').trimEnd();
  } catch (error) {
    stop(`--secret-file cannot be read (${error.code})`);
  }
  const secret = Buffer.from(text, 'base64');
  if (secret.length !== 32 || secret.toString('base64') !== text) {
    stop('--secret-file must hold the base64 of 32 bytes');
  }
  return secret;
}

/** What is at the name itself (a link is not followed), or undefined. */
async function look(name) {
  try {
    return await lstat(name);
  } catch (error) {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  }
}

/** The space of a directory that nobody has been promised yet. */
class Space {
  #path;
  #minFree;
  /** key → {size, client}; of those that were there at the start, the client is not known. */
  #promised = new Map();
  #found;
  #lacking = new Map();
  #lookedAt = -Infinity;
  #turn = Promise.resolve();

  constructor(path, minFree) {
    this.#path = path;
    this.#minFree = minFree;
  }

  /** Promises an upload of `size` bytes to a client, one after the other; throws the Refusal when it does not fit. */
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
    if (size > 0 && size > room - all) throw new Refusal(507, 'there is not enough space', RETRY_LATER);
    const own = (this.#lacking.get(client) ?? 0) + size;
    if (size > 0 && own > room / 2) throw new Refusal(507, 'too much of this client is under way', RETRY_LATER);
    this.#promised.set(key, { size, client });
    this.#lacking.set(client, own);
  }

  /** The uploads of an earlier life. */
  async #find() {
    for (const name of await readdir(this.#path)) {
      if (!name.endsWith('.info') || !KEY.test(name.slice(0, -5))) continue;
      const size = sizeIn(await readFile(join(this.#path, name), 'utf8').catch(() => ''));
      if (size !== undefined) this.#promised.set(name.slice(0, -5), { size, client: undefined });
    }
  }

  /** What uploads lack by client. Forgets those that are complete, that were deleted, and that do not go on. */
  async #measure() {
    const lacking = new Map();
    const now = Date.now();
    for (const [key, { size, client }] of this.#promised) {
      const data = await look(join(this.#path, key));
      const bytes = size - (data?.size ?? 0);
      const expected = data ? now - data.mtimeMs < EXPECTED_MS : reserved.has(key);
      if (bytes > 0 && expected) lacking.set(client, (lacking.get(client) ?? 0) + bytes);
      else this.#promised.delete(key);
    }
    this.#lacking = lacking;
    this.#lookedAt = performance.now();
  }
}

function sizeIn(info) {
  try {
    const { Size: size } = JSON.parse(info);
    return Number.isInteger(size) ? size : undefined;
  } catch {
    return undefined;
  }
}

/**
 * A storage has `used(key)`, whether there are data or info of a key, which throws where that cannot be told,
 * `take(key, size, client)`, which throws where the upload does not fit, `ready()`, and `start()`.
 */
function directoryOf(path, minFree) {
  if (!statSync(path, { throwIfNoEntry: false })?.isDirectory()) stop('--upload-dir is not a directory');
  const exists = async (name) => (await look(join(path, name))) !== undefined;
  const space = new Space(path, minFree);
  return {
    start: () => {},
    take: (key, size, client) => space.take(key, size, client),
    ready: () => stat(path).then((found) => found.isDirectory(), () => false),
    used: async (key) => {
      if (!(await stat(path)).isDirectory()) throw Object.assign(new Error(), { code: 'ENOTDIR' });
      return (await Promise.all([exists(key), exists(`${key}.info`)])).includes(true);
    },
  };
}

function bucketOf(flags) {
  const report = ({ message }) => log('credentials-error', { reason: message });
  let store;
  try {
    store = storeOf(flags, { session: 'cdn3-hook', report });
  } catch (error) {
    if (error instanceof FlagError || error instanceof CredentialsError) stop(error.message);
    throw error;
  }
  const exists = async (name, signal) => {
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

function configure() {
  const text = { type: 'string' };
  let values;
  try {
    ({ values } = parseArgs({
      options: {
        listen: text,
        'health-listen': text,
        'upload-dir': text,
        'secret-file': text,
        'max-size': text,
        'max-age': { type: 'string', default: '86400' },
        'clock-skew': { type: 'string', default: '60' },
        reserve: { type: 'string', default: '30' },
        'min-free': text,
        ...S3_FLAGS,
      },
    }));
  } catch (error) {
    stop(error.message);
  }
  const inS3 = Object.keys(S3_FLAGS).some((name) => values[name] !== undefined);
  if (inS3 && values['upload-dir']) stop('--upload-dir and --s3-bucket exclude each other');
  if (inS3 && values['min-free']) stop('--min-free and --s3-bucket exclude each other');
  for (const name of ['listen', inS3 ? 's3-bucket' : 'upload-dir', 'secret-file', 'max-size']) {
    if (!values[name]) stop(`--${name} is missing`);
  }
  const listen = address('listen', values.listen);
  if (listen.host !== '::1' && !listen.host?.startsWith('127.')) stop('--listen must be a loopback address');
  if (!/^[1-9][0-9]{0,14}$/.test(values['max-size'])) stop('--max-size must be a number of bytes, at least 1');
  const minFree = values['min-free'] ?? '0';
  if (!/^(0|[1-9][0-9]{0,14})$/.test(minFree)) stop('--min-free must be a number of bytes');
  return {
    listen,
    healthListen: values['health-listen'] && address('health-listen', values['health-listen']),
    storage: inS3 ? bucketOf(values) : directoryOf(values['upload-dir'], Number(minFree)),
    secret: readSecret(values['secret-file']),
    maxSize: Number(values['max-size']),
    maxAge: seconds('max-age', values['max-age']),
    clockSkew: seconds('clock-skew', values['clock-skew']),
    reserveMs: seconds('reserve', values.reserve) * 1000,
  };
}

const config = configure();

// --- the call --------------------------------------------------------------------------------------------------

function isObject(value) {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isText(value) {
  return typeof value === 'string';
}

function isUpload(upload) {
  return (
    isObject(upload) &&
    Number.isInteger(upload.Size) &&
    upload.Size >= 0 &&
    [upload.SizeIsDeferred, upload.IsPartial, upload.IsFinal].every((flag) => typeof flag === 'boolean') &&
    isObject(upload.MetaData) &&
    Object.values(upload.MetaData).every(isText)
  );
}

function isHeader(header) {
  return isObject(header) && Object.values(header).every((values) => Array.isArray(values) && values.every(isText));
}

/** The upload and the headers of tusd's call; throws BadCall for a body that is not a pre-create call of tusd's. */
function parseCall(body) {
  let call;
  try {
    call = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(body));
  } catch {
    throw new BadCall(400, 'the body is not JSON');
  }
  const upload = call?.Event?.Upload;
  const header = call?.Event?.HTTPRequest?.Header;
  if (call?.Type !== 'pre-create' || !isUpload(upload) || !isHeader(header)) {
    throw new BadCall(400, 'the body is not a pre-create call');
  }
  return { upload, header };
}

/** All values of a header, however its name is spelt. */
function valuesOf(header, name) {
  return Object.entries(header).flatMap(([key, values]) => (key.toLowerCase() === name ? values : []));
}

/** The bytes of canonical standard base64, or undefined. */
function decode(text) {
  const bytes = Buffer.from(text, 'base64');
  return bytes.toString('base64') === text ? bytes : undefined;
}

// --- the decision ----------------------------------------------------------------------------------------------

/**
 * The user name that the credentials prove. 401 with a challenge where they are missing, malformed, forged or out
 * of their time (RFC 9110, 15.5.2: absent or invalid credentials).
 */
function authenticate(header) {
  const lines = valuesOf(header, 'authorization');
  if (lines.length === 0) throw new Refusal(401, 'credentials are required', CHALLENGE);
  const credentials = lines.length === 1 && decode(BASIC.exec(lines[0])?.[1] ?? '');
  const [, username, password] = /^([^:]*):(.*)$/s.exec(credentials ? credentials.toString('latin1') : '') ?? [];
  const [, time, signature] = PASSWORD.exec(password ?? '') ?? [];
  if (signature === undefined) throw new Refusal(401, 'the credentials are malformed', CHALLENGE);
  const digest = createHmac('sha256', config.secret).update(`${username}:${time}`, 'latin1').digest('hex');
  if (!timingSafeEqual(Buffer.from(digest.slice(0, 20)), Buffer.from(signature))) {
    throw new Refusal(401, 'the credentials are not valid', CHALLENGE);
  }
  const age = Date.now() / 1000 - Number(time);
  if (age > config.maxAge || age < -config.clockSkew) {
    throw new Refusal(401, 'the credentials are not of this time', CHALLENGE);
  }
  return username;
}

/**
 * Only a plain upload of a declared size that fits. Size 0 is one: the tus protocol allows it, and it costs less
 * than any other upload.
 */
function checkKind(upload, header) {
  if (upload.IsPartial || upload.IsFinal || valuesOf(header, 'upload-concat').length > 0) {
    throw new Refusal(403, 'concatenation is not allowed');
  }
  if (upload.SizeIsDeferred || valuesOf(header, 'upload-defer-length').length > 0) {
    throw new Refusal(400, 'Upload-Length is required');
  }
  if (upload.Size > config.maxSize) throw new Refusal(413, 'the upload is too large');
}

/** The metadata of one Upload-Metadata header by key; repeated keys and whatever tusd would skip are refused. */
function parseMetadata(line) {
  const metadata = new Map();
  for (const element of line.split(',')) {
    const [, key, value = ''] = METADATA_PAIR.exec(element.trim()) ?? [];
    const bytes = decode(value);
    if (key === undefined || bytes === undefined) throw new Refusal(400, 'Upload-Metadata is malformed');
    if (metadata.has(key)) throw new Refusal(400, 'Upload-Metadata repeats a key');
    metadata.set(key, bytes.toString('latin1'));
  }
  return metadata;
}

/** The key under which the upload will be stored, from the `filename` that the client and tusd agree on. */
function uploadKey(upload, header) {
  const lines = valuesOf(header, 'upload-metadata');
  if (lines.length !== 1) throw new Refusal(400, 'exactly one Upload-Metadata header is required');
  const name = parseMetadata(lines[0]).get('filename');
  if (name === undefined) throw new Refusal(400, 'Upload-Metadata has no filename');
  if (!KEY.test(name)) throw new Refusal(400, 'filename is not an attachment key');
  if (!Object.hasOwn(upload.MetaData, 'filename') || upload.MetaData.filename !== name) {
    throw new Refusal(400, 'filename is ambiguous');
  }
  return name;
}

/** Keys accepted a moment ago, oldest first: key → {until: milliseconds of the monotonic clock, call: digest}. */
const reserved = new Map();

/**
 * Holds a key from the answer to tusd until tusd has surely made the file. A byte-identical call (same connection
 * of the same client) is tusd trying again after a lost answer, and may have the key.
 */
function reserve(key, call) {
  const now = performance.now();
  for (const [old, { until }] of reserved) {
    if (until > now) break;
    reserved.delete(old);
  }
  if (reserved.has(key) && reserved.get(key).call !== call) throw new Refusal(409, 'the upload exists already');
  reserved.delete(key);
  reserved.set(key, { until: now + config.reserveMs, call });
}

/**
 * Takes a key that has neither data nor info, and the space for it. A storage that cannot be looked into refuses all:
 * it proves no absence.
 */
async function take(key, size, client) {
  try {
    if (await config.storage.used(key)) throw new Refusal(409, 'the upload exists already');
    await config.storage.take(key, size, client);
  } catch (error) {
    if (error instanceof Refusal) throw error;
    log('storage-error', { code: typeof error.code === 'string' ? error.code : error.message });
    throw new Refusal(503, 'the storage is not available', { 'Retry-After': '10' });
  }
}

/** The client as Traefik named it to tusd; nothing where no proxy is in front. */
const uploader = (header) =>
  clientOf({ headers: { 'x-forwarded-for': valuesOf(header, 'x-forwarded-for').join(',') }, socket: {} });

/** tusd's answer for a creation that is allowed; throws Refusal for one that is not. */
async function decide(body, deadline) {
  const { upload, header } = parseCall(body);
  const username = authenticate(header);
  checkKind(upload, header);
  const key = uploadKey(upload, header);
  // 403: the credentials are valid, but for something else (RFC 9110, 15.5.4).
  if (username !== `attachments/${key}`) throw new Refusal(403, 'the credentials are for another upload');
  reserve(key, createHash('sha256').update(body).digest('base64'));
  try {
    await Promise.race([take(key, upload.Size, uploader(header)), deadline]);
  } catch (refusal) {
    reserved.delete(key);
    throw refusal;
  }
  log('accepted', { size: upload.Size });
  return { ChangeFileInfo: { ID: key, MetaData: { filename: key } } };
}

function rejection({ status, message, headers }) {
  log('refused', { status, reason: message });
  return { RejectUpload: true, HTTPResponse: { StatusCode: status, Body: `${message}\n`, Header: headers } };
}

// --- HTTP ------------------------------------------------------------------------------------------------------

function send(response, status, body, headers = {}) {
  const text = JSON.stringify(body);
  const length = Buffer.byteLength(text);
  response.writeHead(status, { 'Content-Type': 'application/json', 'Content-Length': length, ...headers });
  response.end(response.req.method === 'HEAD' ? undefined : text);
}

/** The body, or undefined when it is longer than CALL_LIMIT; throws BadCall beyond DRAIN_LIMIT. */
function readBody(request) {
  return new Promise((resolve, reject) => {
    let chunks = [];
    let size = 0;
    request.on('data', (chunk) => {
      size += chunk.length;
      if (size <= CALL_LIMIT) chunks.push(chunk);
      else chunks = [];
      if (size > DRAIN_LIMIT) reject(new BadCall(413, 'the body is too large', { Connection: 'close' }));
    });
    request.on('end', () => resolve(size <= CALL_LIMIT ? Buffer.concat(chunks) : undefined));
    request.on('error', reject);
  });
}

async function answer(request) {
  const body = await readBody(request);
  const { promise: deadline, reject } = Promise.withResolvers();
  const tooLate = () => reject(new Refusal(503, 'the check took too long', { 'Retry-After': '10' }));
  const timer = setTimeout(tooLate, DEADLINE_MS);
  try {
    if (body === undefined) throw new Refusal(431, 'the header fields are too large');
    return await decide(body, deadline);
  } catch (error) {
    if (error instanceof Refusal) return rejection(error);
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

async function health(request, response) {
  if (request.method !== 'GET' && request.method !== 'HEAD') throw new BadCall(405, 'use GET', { Allow: 'GET, HEAD' });
  const ready = await config.storage.ready();
  send(response, ready ? 200 : 503, { ready });
}

async function route(request, response, hooks) {
  const path = request.url.split('?', 1)[0];
  if (path === '/healthz') return health(request, response);
  if (path !== '/hooks' || !hooks) throw new BadCall(404, 'no such path');
  if (request.method !== 'POST') throw new BadCall(405, 'use POST', { Allow: 'POST' });
  return send(response, 200, await answer(request));
}

async function handle(request, response, hooks) {
  try {
    await route(request, response, hooks);
  } catch (error) {
    if (request.destroyed && !request.complete) return;
    if (error instanceof BadCall) {
      log('bad-call', { status: error.status, reason: error.message });
      send(response, error.status, { error: error.message }, error.headers);
      return;
    }
    log('internal-error', { error: error.stack });
    send(response, 200, rejection(new Refusal(503, 'the upload cannot be checked')));
  }
}

function serve({ host, port }, hooks) {
  const server = http.createServer({
    keepAliveTimeout: KEEP_ALIVE_MS,
    headersTimeout: DEADLINE_MS,
    requestTimeout: DEADLINE_MS,
    connectionsCheckingInterval: 1000,
  });
  server.on('request', (request, response) => handle(request, response, hooks));
  server.on('error', (error) => stop(`cannot listen on ${host}:${port} (${error.code})`));
  server.listen(port, host, () => log('listening', { hooks, host, port: server.address().port }));
  return server;
}

const servers = [serve(config.listen, true)];
if (config.healthListen) servers.push(serve(config.healthListen, false));
config.storage.start();

for (const signal of ['SIGTERM', 'SIGINT']) {
  process.once(signal, () => {
    log('stopping', { signal });
    for (const server of servers) server.close();
    setTimeout(() => process.exit(0), 5000).unref();
  });
}
