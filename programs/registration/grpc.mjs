/**
 * A gRPC server of unary calls over plaintext HTTP/2 ("gRPC over HTTP2" of grpc.io's documents), without compression.
 *
 * A mistake of a client ends its own call, with the status that gRPC has for it, and nothing else.
 */
import http2 from 'node:http2';

import { log, reasonOf } from '../lib/log.mjs';
import { decode, encode, framed, HEADER_BYTES, Malformed } from '../lib/protobuf.mjs';

export const Status = {
  INVALID_ARGUMENT: 3,
  DEADLINE_EXCEEDED: 4,
  RESOURCE_EXHAUSTED: 8,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
  UNAVAILABLE: 14,
};

/** A call that ends with a status other than OK. The message repeats nothing of the request. */
export class GrpcError extends Error {
  /**
   * @param {number} status
   * @param {string} message
   */
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** @typedef {{ signal: AbortSignal, milliseconds: number }} Context the caller has left; how long it waits at most */
/** @typedef {(request: Record<string, any>, context: Context) => object | Promise<object>} Call */
/** @typedef {import('./contract.mjs').Schema} Schema */
/** @typedef {{ request: Schema, response: Schema, call: Call }} Method */

const MOST_BYTES = 16 * 1024;
/** A caller that sends no byte for so long is dropped; Whisper ends its own calls after 15 s. */
const PATIENCE_MS = 30_000;
/** Whisper closes its connection when it was idle for a minute. */
const IDLE_MS = 5 * 60_000;
const OK_HEADERS = { ':status': 200, 'content-type': 'application/grpc', 'grpc-accept-encoding': 'identity' };
const UNITS = { H: 3_600_000, M: 60_000, S: 1000, m: 1, u: 1e-3, n: 1e-6 };
const LONGEST_MS = 3_600_000;

/**
 * The milliseconds of the header grpc-timeout.
 * @param {string | string[] | undefined} header
 */
function timeoutOf(header) {
  if (header === undefined) return LONGEST_MS;
  const [, value, unit] = /^([0-9]{1,8})([HMSmun])$/.exec(`${header}`) ?? [];
  if (!unit) throw new GrpcError(Status.INTERNAL, 'grpc-timeout is malformed');
  return Math.min(Number(value) * UNITS[unit], LONGEST_MS);
}

/**
 * The body of a request.
 * @param {http2.ServerHttp2Stream} stream
 * @returns {Promise<Buffer>}
 */
function bodyOf(stream) {
  return new Promise((resolve, reject) => {
    /** @type {Buffer[]} */
    const chunks = [];
    let length = 0;
    stream.on('data', (/** @type {Buffer} */ chunk) => {
      length += chunk.length;
      if (length <= MOST_BYTES + HEADER_BYTES) chunks.push(chunk);
      else reject(new GrpcError(Status.RESOURCE_EXHAUSTED, `the message is larger than ${MOST_BYTES} bytes`));
    });
    stream.once('end', () => resolve(Buffer.concat(chunks)));
    stream.once('close', () => reject(new GrpcError(Status.INTERNAL, 'the request was cut off')));
  });
}

/**
 * The one message of a request's body.
 * @param {Buffer} body
 * @param {boolean} encoded whether the request names an encoding
 */
function messageOf(body, encoded) {
  if (body.length < HEADER_BYTES) throw new GrpcError(Status.INTERNAL, 'the request has no message');
  if (body[0] === 1 && !encoded)
    throw new GrpcError(Status.INTERNAL, 'a message is compressed by nothing that is named');
  if (body[0] === 1) throw new GrpcError(Status.UNIMPLEMENTED, 'compression is not supported');
  if (body[0] !== 0) throw new GrpcError(Status.INTERNAL, 'the flags of the message are unknown');
  const length = body.readUInt32BE(1);
  if (length > MOST_BYTES)
    throw new GrpcError(Status.RESOURCE_EXHAUSTED, `the message is larger than ${MOST_BYTES} bytes`);
  if (length !== body.length - HEADER_BYTES) throw new GrpcError(Status.INTERNAL, 'the request is not one message');
  return body.subarray(HEADER_BYTES);
}

/**
 * @param {http2.ServerHttp2Stream} stream
 * @param {any} error
 */
function fail(stream, error) {
  if (stream.destroyed || stream.headersSent) return void stream.close(http2.constants.NGHTTP2_INTERNAL_ERROR);
  let [status, message] = [Status.INTERNAL, 'the call failed'];
  if (error instanceof GrpcError) [status, message] = [error.status, error.message];
  else if (error instanceof Malformed) [status, message] = [Status.INVALID_ARGUMENT, error.message];
  else log('error', { reason: reasonOf(error) });
  stream.respond(
    { ...OK_HEADERS, 'grpc-status': `${status}`, 'grpc-message': encodeURI(message) },
    { endStream: true },
  );
  if (!stream.readableEnded) stream.close(http2.constants.NGHTTP2_NO_ERROR);
}

/**
 * @param {http2.ServerHttp2Stream} stream
 * @param {http2.IncomingHttpHeaders} headers
 * @param {Map<string, Method>} methods by path
 */
async function serve(stream, headers, methods) {
  const left = new AbortController();
  stream.once('close', () => left.abort());
  const grpc = /^application\/grpc(\+proto)?(;|$)/.test(`${headers['content-type']}`);
  if (headers[':method'] !== 'POST' || !grpc) {
    const status = grpc ? 405 : 415;
    stream.respond({ ':status': status }, { endStream: true });
    return void stream.close(http2.constants.NGHTTP2_NO_ERROR);
  }
  try {
    const method = methods.get(`${headers[':path']}`);
    if (!method) throw new GrpcError(Status.UNIMPLEMENTED, 'there is no such method');
    const encoding = `${headers['grpc-encoding'] ?? 'identity'}`;
    const milliseconds = timeoutOf(headers['grpc-timeout']);
    const body = await bodyOf(stream);
    const request = decode(method.request, messageOf(body, encoding !== 'identity'));
    const response = await method.call(request, { signal: left.signal, milliseconds });
    if (stream.destroyed) return;
    stream.respond(OK_HEADERS, { waitForTrailers: true });
    stream.once('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
    stream.end(framed(encode(method.response, response)));
  } catch (error) {
    fail(stream, error);
  }
}

/**
 * The server, and `close`: it sends GOAWAY on each connection and answers the calls under way; its promise ends when
 * all connections have.
 * @param {string} service
 * @param {Record<string, Method>} methods by name
 */
export function grpcServer(service, methods) {
  const byPath = new Map(Object.entries(methods).map(([name, method]) => [`/${service}/${name}`, method]));
  /** @type {Set<http2.ServerHttp2Session>} */
  const sessions = new Set();
  const server = http2.createServer({
    maxHeaderListPairs: 64,
    maxSessionMemory: 4,
    settings: { maxConcurrentStreams: 256, maxHeaderListSize: 16 * 1024, enablePush: false },
  });
  server.on('session', (session) => {
    sessions.add(session);
    session.once('close', () => sessions.delete(session));
    session.setTimeout(IDLE_MS, () => session.close());
  });
  // An error of a caller ends its own connection, and Node.js has done so already.
  server.on('sessionError', () => {});
  server.on('stream', (stream, headers) => {
    stream.on('error', () => {});
    stream.setTimeout(PATIENCE_MS, () => stream.close(http2.constants.NGHTTP2_CANCEL));
    serve(stream, headers, byPath);
  });
  /** @returns {Promise<void>} */
  const close = () =>
    new Promise((resolve) => {
      server.close(() => resolve());
      for (const session of sessions) session.close(); // as Node.js asks for; some versions do it themselves
    });
  return { server, close };
}
