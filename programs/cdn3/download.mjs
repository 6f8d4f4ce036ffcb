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
 * is there is whole. It is read in the pod's own name (lib/s3.mjs), which needs s3:GetObject for the prefix, and
 * s3:ListBucket for the bucket: without the latter, S3 answers 403 for what is missing, and that is a 503 here.
 *
 * Serves GET and HEAD of `<base path><key>` on --listen, with RFC 9110's preconditions and single ranges (to others
 * it sends the whole), and its health on --health-listen. Of one client (lib/clients.mjs), --max-per-client requests
 * may be under way, and the next is answered 429. A download may take any time, but not stand still: a client that
 * takes less than --min-rate bytes a second is dropped, at the earliest after --grace-seconds. The kernel takes bytes
 * in steps of up to 2 MiB (measured; a third of its send buffer and more), and such a step may take --idle-seconds: 300
 * suit clients of 7 KB/s.
 * Logs one JSON line per error and a summary of all since the start every --summary-seconds; of a key only its first
 * characters, since the whole of it is what permits a download.
 */
import http from 'node:http';

import { Concurrency, clientOf } from '../lib/clients.mjs';
import { configured, Flags } from '../lib/flags.mjs';
import { hint, log, reasonOf } from '../lib/log.mjs';
import { S3_USAGE } from '../lib/s3.mjs';
import { healthServer, KEEP_ALIVE_MS, listen, stopAtSignal } from '../lib/server.mjs';
import { bucketOf, directoryOf } from './download-storage.mjs';
import { Gone, Readers, refuse, totals } from './readers.mjs';
import { basePath, IS_KEY, inS3, STORE_FLAGS } from './uploads.mjs';

const USAGE = `cdn3/download.mjs --listen [ADDRESS]:PORT --health-listen [ADDRESS]:PORT --upload-dir DIR
  [--base-path /PATH/] [--max-connections NUMBER] [--max-per-client NUMBER] [--header-seconds SECONDS]
  [--min-rate BYTES] [--grace-seconds SECONDS] [--idle-seconds SECONDS] [--drain-seconds SECONDS]
  [--summary-seconds SECONDS]
  or, in place of --upload-dir: ${S3_USAGE}`;
/** A client that sends more requests ahead of their answers is dropped; proxies send none. */
const MAX_PIPELINED = 4;

const config = configured(USAGE, () => {
  const flags = new Flags({
    ...STORE_FLAGS,
    listen: undefined,
    'health-listen': undefined,
    'base-path': '/attachments/',
    'max-connections': '512',
    'max-per-client': '64',
    'header-seconds': '5',
    'min-rate': '4096',
    'grace-seconds': '60',
    'idle-seconds': '300',
    'drain-seconds': '50',
    'summary-seconds': '60',
  });
  const grace = flags.number('grace-seconds') * 1000;
  const floor = { rate: flags.number('min-rate'), grace, most: Math.max(grace, flags.number('idle-seconds') * 1000) };
  const readers = new Readers(floor);
  return {
    listen: flags.address('listen'),
    healthListen: flags.address('health-listen'),
    readers,
    storage: inS3(flags) ? bucketOf(flags, readers) : directoryOf(flags.folder('upload-dir'), readers),
    basePath: basePath(flags),
    maxConnections: flags.number('max-connections'),
    maxPerClient: flags.number('max-per-client'),
    headerMs: flags.number('header-seconds') * 1000,
    idleMs: floor.most,
    drainMs: flags.number('drain-seconds') * 1000,
    summaryMs: flags.number('summary-seconds') * 1000,
  };
});
const { storage } = config;

// --- one request -----------------------------------------------------------------------------------------------

/**
 * @param {import('node:http').IncomingMessage} request
 * @param {import('./readers.mjs').Response} response
 */
async function handle(request, response) {
  const { method, socket, url = '' } = request;
  const key = url.startsWith(config.basePath) ? url.slice(config.basePath.length) : '';
  const leave = requests.enter(clientOf(request));
  response.once('close', () => leave?.());
  try {
    if (!leave) refuse(response, 429, { 'Retry-After': '5' });
    else if (!IS_KEY.test(key)) refuse(response, 404);
    else if (method !== 'GET' && method !== 'HEAD') refuse(response, 405, { Allow: 'GET, HEAD' });
    else await storage.download(request, response, key);
  } catch (error) {
    if (error instanceof Gone) totals.gone += 1;
    else if (await storage.misses(error)) refuse(response, 404);
    else {
      log('error', { key: hint(key), reason: reasonOf(error) });
      if (response.headersSent) socket.destroy();
      else refuse(response, 503, { 'Retry-After': '10' });
    }
  }
}

// --- the servers -----------------------------------------------------------------------------------------------

/** @type {Map<import('node:net').Socket, { waiting: number }>} how many answers each connection waits for */
const connections = new Map();
const requests = new Concurrency({ total: config.maxConnections, perClient: config.maxPerClient });
let stopping = false;

function accept(socket) {
  connections.set(socket, { waiting: 0 });
  socket.once('close', () => connections.delete(socket));
}

/**
 * @param {import('node:http').IncomingMessage} request
 * @param {import('./readers.mjs').Response} response
 */
function take(request, response) {
  const { socket } = request;
  const connection = connections.get(socket);
  if (!connection) return undefined; // it has gone
  connection.waiting += 1;
  if (connection.waiting > MAX_PIPELINED) return socket.destroy();
  response.once('close', () => {
    connection.waiting -= 1;
    // Half closed only, so that the process lives until the client has everything and closes its side.
    if (stopping && connection.waiting === 0) socket.end();
  });
  return handle(request, response);
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
const problem = async () => ((await storage.ready()) ? undefined : 'the storage is not there');
const health = healthServer({ '/livez': problem, '/readyz': problem });
server.timeout = config.idleMs;
server.maxConnections = config.maxConnections;
server
  .on('connection', accept)
  .on('request', take)
  .on('drop', () => {
    totals.dropped += 1;
  });
listen(server, config.listen, USAGE);
listen(health, config.healthListen, USAGE, { serves: 'health' });
setInterval(summary, config.summaryMs).unref();
setInterval(() => config.readers.dropSlow(), 1000).unref();
storage.start();

stopAtSignal(config.drainMs, () => {
  stopping = true;
  process.on('exit', summary);
  health.close();
  server.close();
  for (const [socket, { waiting }] of connections) if (waiting === 0) socket.destroy();
});
