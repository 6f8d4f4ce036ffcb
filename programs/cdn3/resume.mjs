/**
 * CDN3's front of uploads where tusd keeps them in S3: gives each upload the address under which clients resume it.
 *
 * tusd's S3 store (2.9.1) knows an upload only as `<key>+<id of the multipart upload>`. Signal for Android goes on at
 * the Location of the creation, but Signal for iOS (UploadEndpointCDN3) and Signal Desktop (tusProtocol) at the
 * upload's key behind the address where they created it, which tusd answers with a 404. So this program passes every
 * request on to tusd as it is, but for two things: in the path of a request, `<base path><key>` becomes tusd's own id,
 * read from `<prefix><key>.info` in S3 in the pod's own name (lib/s3.mjs; s3:GetObject for the prefix, s3:ListBucket
 * for the bucket); and in the Location of an answer, the id becomes the key.
 *
 * Bodies stream both ways. A client that leaves ends the request to tusd, which then keeps what has arrived. Of one
 * client (lib/clients.mjs), --max-per-client requests may be under way, and the next is answered 429. A client that
 * sends less than --min-rate bytes a second of a body is dropped, at the earliest after --progress-seconds; one that
 * moves no byte for --idle-seconds is dropped in any case. tusd has a shorter limit of its own for that
 * (--network-timeout). Logs one JSON line per error, and of a key only its first characters.
 */
import { once } from 'node:events';
import http from 'node:http';
import { pipeline } from 'node:stream/promises';

import { Concurrency, clientOf, Progress } from '../lib/clients.mjs';
import { configured, Flags } from '../lib/flags.mjs';
import { hint, log, reasonOf } from '../lib/log.mjs';
import { codeOf, S3_FLAGS, S3_USAGE, storeOf } from '../lib/s3.mjs';
import { HttpError, healthServer, KEEP_ALIVE_MS, listen, stopAtSignal } from '../lib/server.mjs';
import { basePath, KEY } from './uploads.mjs';

const USAGE = `cdn3/resume.mjs --listen [ADDRESS]:PORT --health-listen [ADDRESS]:PORT --tusd [ADDRESS]:PORT
  ${S3_USAGE}
  [--base-path /PATH/] [--max-connections NUMBER] [--max-per-client NUMBER] [--header-seconds SECONDS]
  [--min-rate BYTES] [--progress-seconds SECONDS] [--idle-seconds SECONDS] [--drain-seconds SECONDS]`;

/** S3's ids of multipart uploads are letters, digits, and these. */
const ID = new RegExp(`^(${KEY})\\+[A-Za-z0-9._~-]{1,512}$`);
/** Headers of one connection only, which the other one has for itself (RFC 9110, 7.6.1). */
const HOP_BY_HOP = new Set(['connection', 'expect', 'keep-alive', 'te', 'trailer', 'transfer-encoding', 'upgrade']);
const INFO_LIMIT = 64 * 1024;
/** For S3's answer about one key. */
const S3_MS = 10_000;
/** For reading on after an answer that came early, so that it is not lost in a connection reset. */
const LINGER_MS = 3000;
/** Between two looks at how fast bodies come. */
const LOOK_MS = 1000;

const config = configured(USAGE, () => {
  const flags = new Flags({
    ...S3_FLAGS,
    listen: undefined,
    'health-listen': undefined,
    tusd: undefined,
    'base-path': '/attachments/',
    'max-connections': '512',
    'max-per-client': '64',
    'header-seconds': '5',
    'min-rate': '2048',
    'progress-seconds': '60',
    'idle-seconds': '120',
    'drain-seconds': '30',
  });
  const grace = flags.number('progress-seconds') * 1000;
  return {
    listen: flags.address('listen'),
    healthListen: flags.address('health-listen'),
    tusd: flags.address('tusd'),
    basePath: basePath(flags),
    maxConnections: flags.number('max-connections'),
    maxPerClient: flags.number('max-per-client'),
    floor: { rate: flags.number('min-rate'), grace, most: grace },
    headerMs: flags.number('header-seconds') * 1000,
    idleMs: flags.number('idle-seconds') * 1000,
    drainMs: flags.number('drain-seconds') * 1000,
    store: storeOf(flags, 'cdn3-resume'),
  };
});
const RESUMED = new RegExp(`^${config.basePath}(${KEY})$`);
const LOCATED = new RegExp(`^(.*${config.basePath}${KEY})\\+[^/?#]*$`);

// --- names -----------------------------------------------------------------------------------------------------

/**
 * The id that the upload's info tells; an HttpError of 404 for a key without an upload.
 * @param {string} key
 * @param {AbortSignal} signal
 * @returns {Promise<string>}
 */
async function idOf(key, signal) {
  const { bucket, prefix } = config.store;
  const answer = await bucket.read('GET', `${prefix}${key}.info`, {}, signal);
  if (answer.statusCode !== 200) {
    const [code] = await codeOf(answer);
    if (answer.statusCode === 404 && code === 'NoSuchKey') throw new HttpError(404, 'there is no such upload');
    throw new Error(['S3 answered', answer.statusCode, code].join(' ').trim());
  }
  let text = '';
  for await (const chunk of answer.setEncoding('utf8')) {
    text += chunk;
    if (text.length > INFO_LIMIT) throw new Error('the info is too long');
  }
  const id = JSON.parse(text)?.ID;
  if (ID.exec(id)?.[1] !== key) throw new Error('the info names another upload');
  return id;
}

/**
 * The path to ask tusd for.
 * @param {http.IncomingMessage} request
 * @param {AbortSignal} signal
 */
async function pathFor({ url = '', method = '' }, signal) {
  const key = ['HEAD', 'PATCH'].includes(method) && RESUMED.exec(url)?.[1];
  if (!key) return url;
  try {
    return `${config.basePath}${await idOf(key, AbortSignal.any([signal, AbortSignal.timeout(S3_MS)]))}`;
  } catch (error) {
    if (error instanceof HttpError || signal.aborted) throw error;
    const reason = error instanceof SyntaxError ? 'the info is not JSON' : reasonOf(error);
    log('error', { key: hint(key), reason });
    throw new HttpError(503, 'S3 is not available', { 'Retry-After': '10' });
  }
}

// --- one request -----------------------------------------------------------------------------------------------

/**
 * The header that says where the body ends: Node frames only the bodies of methods that usually have one, and any
 * other client would take an unframed body for its next request.
 */
const framing = ({ headers }) => (headers['transfer-encoding'] ? ['Transfer-Encoding', 'chunked'] : []);

/** The header lines to pass on, as name, value, name, value. */
function passed(rawHeaders, listed = '') {
  const dropped = new Set([
    ...HOP_BY_HOP,
    ...listed
      .toLowerCase()
      .split(',')
      .map((name) => name.trim()),
  ]);
  return rawHeaders.filter((_, i) => !dropped.has(rawHeaders[i - (i % 2)].toLowerCase()));
}

/** The header lines of tusd's answer, with the address of an upload that clients can keep to. */
function answered({ headers, rawHeaders }) {
  const lines = passed(rawHeaders, headers.connection);
  const located = (i) => i % 2 === 1 && lines[i - 1].toLowerCase() === 'location';
  return lines.map((text, i) => (located(i) ? text.replace(LOCATED, '$1') : text));
}

/** Bodies under way: the client's request, and the one to tusd. */
const bodies = new Set();

function dropSlow() {
  for (const body of bodies) {
    const { request, outgoing, progress } = body;
    const read = request.socket.bytesRead;
    progress.moved(read - body.read, Date.now());
    body.read = read;
    if (outgoing.writableNeedDrain)
      progress.pause(LOOK_MS); // it is tusd that takes no more
    else if (progress.late(Date.now())) request.socket.destroy();
  }
}

/** Sends the client's body on to tusd, for as long as it comes fast enough. */
function forward(request, outgoing) {
  const { bytesRead } = request.socket;
  const body = { request, outgoing, read: bytesRead, progress: new Progress(config.floor, Date.now()) };
  bodies.add(body);
  const done = () => bodies.delete(body);
  request.once('end', done).once('close', done).pipe(outgoing);
}

/** Ends an answer whose request may still be on its way. */
async function finish(request, response) {
  const enough = AbortSignal.timeout(LINGER_MS);
  if (!request.complete) await once(request.resume(), 'end', { signal: enough }).catch(() => {}); // read or not
  response.end();
}

async function pass(request, response, controller) {
  const { signal } = controller;
  const path = await pathFor(request, signal);
  const { host, port } = config.tusd;
  const { method } = request;
  const headers = [...passed(request.rawHeaders, request.headers.connection), ...framing(request)];
  const outgoing = http.request({ host, port, path, method, headers, setHost: false, agent: false, signal });
  const answer = await new Promise((resolve, reject) => {
    outgoing.once('response', resolve).on('error', reject);
    forward(request, outgoing); // tusd may answer before it has the whole body
  });
  const fields = answered(answer);
  if (!request.complete) fields.push('Connection', 'close');
  response.writeHead(answer.statusCode, fields);
  await pipeline(answer, response, { signal, end: false });
  request.unpipe(outgoing);
  await finish(request, response);
}

async function handle(request, response) {
  const controller = new AbortController();
  const leave = requests.enter(clientOf(request));
  response.once('close', () => {
    leave?.();
    controller.abort();
  });
  try {
    if (!leave) throw new HttpError(429, 'too many requests', { 'Retry-After': '5' });
    await pass(request, response, controller);
  } catch (error) {
    if (controller.signal.aborted) return; // the client has gone
    const own = error instanceof HttpError;
    if (!own) log('error', { reason: reasonOf(error) });
    if (response.headersSent) return void request.socket.destroy();
    const { status, headers } = own ? error : new HttpError(502, 'tusd does not answer');
    const end = request.complete ? {} : { Connection: 'close' };
    const about = { 'Tus-Resumable': '1.0.0', 'Cache-Control': 'no-store', 'Content-Length': 0 };
    response.writeHead(status, { ...about, ...headers, ...end }).flushHeaders();
    await finish(request, response);
  }
}

// --- the servers -----------------------------------------------------------------------------------------------

const requests = new Concurrency({ total: config.maxConnections, perClient: config.maxPerClient });
const server = http.createServer(
  {
    headersTimeout: config.headerMs,
    requestTimeout: 0, // an upload may take any time
    connectionsCheckingInterval: 1000,
    keepAliveTimeout: KEEP_ALIVE_MS,
  },
  handle,
);
const problem = () => (config.store.credentials.obtained ? undefined : 'no credentials');
const health = healthServer({ '/livez': problem, '/readyz': problem });
server.timeout = config.idleMs;
server.maxConnections = config.maxConnections;
setInterval(dropSlow, LOOK_MS).unref();
listen(server, config.listen, USAGE);
listen(health, config.healthListen, USAGE, { serves: 'health' });
config.store.credentials.obtain();

stopAtSignal(config.drainMs, () => {
  health.close();
  server.close();
  server.closeIdleConnections();
});
