/**
 * CDN0 gate: the only door between the internet and the S3-compatible server that holds the public bucket.
 *
 * Reads: GET and HEAD of /<bucket>/<key> for keys that match a read pattern. Writes: POST of a browser-based upload
 * form (Amazon S3, "Authenticating requests in browser-based uploads using POST", Signature Version 4) to /<bucket>/,
 * verified here as S3 verifies it. Deletions: DELETE of /<bucket>/<key> with a Signature Version 4 in its headers, if
 * the credential may delete such keys. A client's request is never forwarded: the gate makes a request of its own from
 * what it has checked.
 *
 * An upload is stored whole or not at all. The form must have a Content-Length, and the file must be its last part,
 * followed by exactly CRLF--boundary--CRLF. So the file's size is known before its first byte, and the PUT carries it
 * as Content-Length; the last byte of the file is kept back until the form's end has arrived and is right. Whatever
 * goes wrong before that leaves the upstream with a request whose body never became complete.
 *
 * The bucket is private. Reads are signed with the pod's own identity (lib/aws-credentials.mjs), which needs
 * s3:GetObject for the readable keys: without s3:ListBucket, S3 answers 403 for a missing key, and the gate 404.
 * --writes says how an upload is stored:
 * - put: by a PUT of the gate's own identity, which owns the bucket. Only the gate knows the key pairs of those who
 *   sign forms, so it offers them deletions, too;
 * - form: by a form of the gate's own with the verified fields, so S3 verifies them again, with the permissions of the
 *   one who signed. Deletions are not offered: who may delete asks S3.
 */
import { once } from 'node:events';
import { createServer } from 'node:http';

import { Concurrency } from '../lib/clients.mjs';
import { log } from '../lib/log.mjs';
import { healthServer, listen } from '../lib/server.mjs';
import { configuration, USAGE } from './config.mjs';
import { Exchange } from './exchange.mjs';
import { download, erase, PROTECTION } from './objects.mjs';
import { insist, Refusal } from './refusal.mjs';
import { upload } from './upload.mjs';

/** @typedef {ReturnType<typeof gateOf>} Gate */
/** @typedef {'nothing' | 'continue' | 'more'} Expectation of a request: none, 100-continue, any other */

/**
 * @param {Gate} gate
 * @param {Exchange} exchange
 */
function dispatch(gate, exchange) {
  const { url } = exchange;
  const { method, headers } = exchange.req;
  insist(exchange.expects !== 'more', 'InvalidRequest', 'The only expectation that can be met is 100-continue.');
  insist(!headers.upgrade, 'InvalidRequest', 'There is nothing to upgrade to.');
  if (method === 'GET' || method === 'HEAD') return download(gate, exchange);
  if (method === 'DELETE') return erase(gate, exchange);
  const form = method === 'POST' && [`/${gate.config.bucket}`, `/${gate.config.bucket}/`].includes(url);
  insist(form, 'MethodNotAllowed', 'The method is not allowed on this resource.');
  return upload(gate, exchange);
}

/**
 * @param {Gate} gate
 * @param {Exchange} exchange
 * @param {unknown} thrown
 */
async function refuse(gate, exchange, thrown) {
  const { req, res, signal } = exchange;
  /** @type {any} */
  let refusal = signal.aborted ? signal.reason : thrown;
  if (!(refusal instanceof Refusal)) {
    log('error', { error: `${refusal?.stack}` });
    refusal = new Refusal('InternalError', 'The gate failed.');
  }
  exchange.code = refusal.code;
  exchange.abort(refusal); // ends the request to the upstream
  if (res.headersSent || res.destroyed) return void res.destroy();
  const error = `<Error><Code>${refusal.code}</Code><Message>${refusal.message}</Message></Error>`;
  const body = Buffer.from(`<?xml version="1.0" encoding="UTF-8"?>\n${error}\n`);
  for (const name of res.getHeaderNames()) if (name !== 'connection') res.removeHeader(name);
  if (!req.complete) res.setHeader('Connection', 'close');
  if (refusal.status === 405) res.setHeader('Allow', 'GET, HEAD, POST');
  const about = { 'Content-Type': 'application/xml', 'Content-Length': body.length, 'Cache-Control': 'no-store' };
  res.writeHead(refusal.status, { ...PROTECTION, ...about });
  res.write(body);
  if (!req.complete) {
    const enough = AbortSignal.timeout(gate.config.limits.lingerSeconds * 1000);
    await once(req.resume(), 'end', { signal: enough }).catch(() => {}); // then the connection closes, read or not
  }
  res.end();
}

/** Requests on one connection are answered one after the other; a client that sends many ahead is dropped. */
const MAX_PIPELINED = 8;

/**
 * @param {Gate} gate
 * @param {import('node:http').IncomingMessage} req
 * @param {import('node:http').ServerResponse<import('node:http').IncomingMessage>} res
 * @param {Expectation} expects
 */
async function serve(gate, req, res, expects) {
  const { socket } = req;
  const line = gate.lines.get(socket) ?? { waiting: 0, turn: Promise.resolve() };
  gate.lines.set(socket, line);
  if (++line.waiting > MAX_PIPELINED) return void socket.destroy();
  const before = line.turn;
  const { promise, resolve } = /** @type {PromiseWithResolvers<void>} */ (Promise.withResolvers());
  line.turn = promise;
  await before;
  const exchange = new Exchange(gate, req, res, expects);
  const leave = gate.requests.enter(exchange.client);
  gate.exchanges.add(exchange);
  if (gate.draining) res.setHeader('Connection', 'close');
  try {
    insist(leave, 'SlowDown', 'Too many requests of this client are under way.');
    await dispatch(gate, exchange);
  } catch (error) {
    await refuse(gate, exchange, error);
  } finally {
    leave?.();
    gate.exchanges.delete(exchange);
    line.waiting -= 1;
    resolve();
    account(gate, exchange);
  }
}

const COUNTED = ['GET', 'HEAD', 'POST', 'DELETE'];

/**
 * Counts every request; logs changes and failures. Keys are not logged: knowing one is all that a read needs.
 * @param {Gate} gate
 * @param {Exchange} exchange
 */
function account(gate, { req, res, started, signer, bytes, code, upstreamCode: upstream }) {
  const method = COUNTED.includes(req.method ?? '') ? `${req.method}` : 'other';
  const status = res.headersSent ? res.statusCode : 499; // nginx's number for a client that left without an answer
  const label = `method="${method}",status="${status}"`;
  gate.counts.set(label, (gate.counts.get(label) ?? 0) + 1);
  const ms = Date.now() - started;
  const notable = ['POST', 'DELETE'].includes(method) || status >= 500;
  if (notable) log('request', { method, status, code, upstream, signer, bytes, ms });
}

const metrics = (/** @type {Gate} */ gate) =>
  [
    '# TYPE cdn0_gate_requests_total counter',
    ...[...gate.counts].map(([label, n]) => `cdn0_gate_requests_total{${label}} ${n}`),
    '# TYPE cdn0_gate_requests_active gauge',
    `cdn0_gate_requests_active ${gate.exchanges.size}`,
    '# TYPE cdn0_gate_forms_unauthorized gauge',
    `cdn0_gate_forms_unauthorized ${gate.forms.active}`,
    '# TYPE cdn0_gate_connections_refused_total counter',
    `cdn0_gate_connections_refused_total ${gate.dropped}\n`,
  ].join('\n');

/**
 * Readiness does not ask the upstream: a gate that answers 502 says more than one that is taken out of service. But a
 * gate that never had credentials of its own is not ready.
 */
function unready(gate) {
  if (gate.draining) return 'draining';
  return gate.config.credentials.obtained ? undefined : 'no credentials';
}

// --- start and stop --------------------------------------------------------------------------------------------

/** @param {import('./config.mjs').Config} config */
function gateOf(config) {
  const { limits } = config;
  return {
    config,
    requests: new Concurrency({ total: limits.connections, perClient: limits.clientRequests }),
    forms: new Concurrency({ total: limits.forms, perClient: limits.clientForms }),
    /** @type {Set<Exchange>} */
    exchanges: new Set(),
    /** @type {WeakMap<import('node:net').Socket, { waiting: number, turn: Promise<void> }>} */
    lines: new WeakMap(),
    draining: false,
    /** @type {Map<string, number>} */
    counts: new Map(),
    dropped: 0,
  };
}

/** @param {Gate} gate */
function serverOf(gate) {
  const { limits } = gate.config;
  const server = createServer({
    maxHeaderSize: limits.headerBytes,
    headersTimeout: limits.headerSeconds * 1000,
    requestTimeout: limits.requestSeconds * 1000,
    keepAliveTimeout: limits.idleSeconds * 1000,
    connectionsCheckingInterval: 1000,
  });
  server.maxConnections = limits.connections;
  const take = (/** @type {Expectation} */ expects) => (req, res) =>
    serve(gate, req, res, expects).catch((error) => {
      log('error', { error: error.stack });
      req.socket.destroy();
    });
  server.on('request', take('nothing')).on('checkContinue', take('continue')).on('checkExpectation', take('more'));
  return server.on('drop', () => {
    gate.dropped += 1;
  });
}

const gate = gateOf(configuration());
const { config } = gate;
const server = serverOf(gate);
const health = healthServer(
  { '/livez': () => undefined, '/readyz': () => unready(gate) },
  { '/metrics': () => metrics(gate) },
);
await listen(health, config.healthListen, USAGE, { serves: 'health' });
await listen(server, config.listen, USAGE);
config.credentials.obtain();

const watch = setInterval(() => {
  for (const exchange of gate.exchanges) exchange.check(config.limits, Date.now());
  if (gate.draining) server.closeIdleConnections();
}, 1000);

function stop() {
  if (gate.draining) return;
  gate.draining = true;
  log('draining', { active: gate.exchanges.size });
  for (const { res } of gate.exchanges) if (!res.headersSent) res.setHeader('Connection', 'close');
  server.close(() => {
    clearInterval(watch);
    health.close();
    health.closeAllConnections();
    log('stopped');
  });
  setTimeout(() => server.closeAllConnections(), config.limits.drainSeconds * 1000).unref();
}
process.on('SIGTERM', stop).on('SIGINT', stop);
