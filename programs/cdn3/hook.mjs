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
 * are looked for with a HEAD in the pod's own name (lib/s3.mjs), which needs s3:GetObject for the prefix, and
 * s3:ListBucket for the bucket: without the latter, S3 answers 403 for what is missing, which proves nothing, so every
 * upload is refused with a 503.
 *
 * In a directory an upload must fit: the file system keeps --min-free bytes, and what other uploads still lack of their
 * declared sizes is counted as used, for as long as they go on. Half of what is then left is the most that one client
 * may have under way, so that nobody takes all the space by announcing uploads. 507 otherwise (RFC 4918, 11.5).
 *
 * A call is answered within some seconds, whatever the storage does: tusd would wait for ever, and the client with it.
 *
 * Serves `POST /hooks` on --listen (loopback only), and its health on --health-listen, which a kubelet can reach. Logs
 * one JSON line per event, without keys or credentials.
 */
import { createHash } from 'node:crypto';
import http from 'node:http';

import { configured, Flags, must } from '../lib/flags.mjs';
import { log, reasonOf } from '../lib/log.mjs';
import { S3_USAGE } from '../lib/s3.mjs';
import { healthServer, KEEP_ALIVE_MS, listen, stopAtSignal } from '../lib/server.mjs';
import { authenticate, BadCall, checkKind, clientIn, parseCall, uploadKey } from './hook-call.mjs';
import { bucketOf, directoryOf, Refusal, Reserved } from './hook-storage.mjs';
import { inS3, STORE_FLAGS } from './uploads.mjs';

const USAGE = `cdn3/hook.mjs --listen 127.0.0.1:PORT --health-listen [ADDRESS]:PORT --upload-dir DIR --secret-file FILE
  --max-size BYTES [--max-age SECONDS] [--clock-skew SECONDS] [--reserve SECONDS] [--min-free BYTES]
  or, in place of --upload-dir and --min-free: ${S3_USAGE}`;

/** A call with more than this was made of a client's oversized headers: it is refused unread. */
const CALL_LIMIT = 64 * 1024;
/** Go's limit of 1 MiB of headers, every byte escaped as \u00XX, twice: more than tusd can send. */
const DRAIN_LIMIT = 16 * 1024 * 1024;
/** For one call. */
const DEADLINE_MS = 5_000;
const MAX_BYTES = 10 ** 15;

/**
 * The 32 bytes whose standard base64 the file holds (Whisper's tus.userAuthenticationTokenSharedSecret).
 * @param {Flags} flags
 */
function secretIn(flags) {
  const text = flags.file('secret-file');
  const secret = Buffer.from(text, 'base64');
  must(secret.length === 32 && secret.toString('base64') === text, '--secret-file must hold the base64 of 32 bytes');
  return secret;
}

const config = configured(USAGE, () => {
  const flags = new Flags({
    ...STORE_FLAGS,
    listen: undefined,
    'health-listen': undefined,
    'secret-file': undefined,
    'max-size': undefined,
    'max-age': '86400',
    'clock-skew': '60',
    reserve: '30',
    'min-free': '0',
  });
  const remote = inS3(flags);
  must(!remote || flags.text('min-free') === '0', '--min-free and --s3-bucket exclude each other');
  const listening = flags.address('listen');
  const loopback = listening.host === '::1' || listening.host?.startsWith('127.');
  must(loopback, '--listen must be a loopback address');
  const reserved = new Reserved(flags.seconds('reserve', { min: 0 }) * 1000);
  const minFree = flags.number('min-free', { min: 0, max: MAX_BYTES, unit: 'bytes' });
  return {
    listen: listening,
    healthListen: flags.address('health-listen'),
    reserved,
    storage: remote ? bucketOf(flags) : directoryOf(flags.folder('upload-dir'), minFree, reserved),
    secret: secretIn(flags),
    maxSize: flags.number('max-size', { max: MAX_BYTES, unit: 'bytes' }),
    maxAge: flags.seconds('max-age', { min: 0 }),
    clockSkew: flags.seconds('clock-skew', { min: 0 }),
  };
});
const { reserved, storage } = config;

// --- the decision ----------------------------------------------------------------------------------------------

/**
 * Takes a key that has neither data nor info, and the space for it. A storage that cannot be looked into refuses all:
 * it proves no absence.
 * @param {string} key
 * @param {number} size
 * @param {string} client
 */
async function take(key, size, client) {
  try {
    if (await storage.used(key)) throw new Refusal(409, 'the upload exists already');
    await storage.take(key, size, client);
  } catch (error) {
    if (error instanceof Refusal) throw error;
    log('storage-error', { reason: reasonOf(error) });
    throw new Refusal(503, 'the storage is not available', { 'Retry-After': '10' });
  }
}

/**
 * tusd's answer for a creation that is allowed; throws Refusal for one that is not.
 * @param {Buffer} body
 * @param {Promise<never>} deadline
 */
async function decide(body, deadline) {
  const { upload, header } = parseCall(body);
  const username = authenticate(header, config);
  checkKind(upload, header, config.maxSize);
  const key = uploadKey(upload, header);
  // 403: the credentials are valid, but for something else (RFC 9110, 15.5.4).
  if (username !== `attachments/${key}`) throw new Refusal(403, 'the credentials are for another upload');
  reserved.take(key, createHash('sha256').update(body).digest('base64'));
  try {
    await Promise.race([take(key, upload.Size, clientIn(header)), deadline]);
  } catch (refusal) {
    reserved.free(key);
    throw refusal;
  }
  log('accepted', { size: upload.Size });
  return { ChangeFileInfo: { ID: key, MetaData: { filename: key } } };
}

/** @param {Refusal} refusal */
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
  const { promise: deadline, reject } = /** @type {PromiseWithResolvers<never>} */ (Promise.withResolvers());
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

async function route(request, response) {
  const path = request.url.split('?', 1)[0];
  if (path !== '/hooks') throw new BadCall(404, 'no such path');
  if (request.method !== 'POST') throw new BadCall(405, 'use POST', { Allow: 'POST' });
  return send(response, 200, await answer(request));
}

async function handle(request, response) {
  try {
    await route(request, response);
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

const server = http.createServer(
  {
    keepAliveTimeout: KEEP_ALIVE_MS,
    headersTimeout: DEADLINE_MS,
    requestTimeout: DEADLINE_MS,
    connectionsCheckingInterval: 1000,
  },
  handle,
);
const problem = async () => ((await storage.ready()) ? undefined : 'the storage is not there');
const health = healthServer({ '/livez': problem, '/readyz': problem });
listen(server, config.listen, USAGE, { serves: 'hooks' });
listen(health, config.healthListen, USAGE, { serves: 'health' });
storage.start();

stopAtSignal(5000, () => {
  server.close();
  health.close();
});
