/** One request under way, the pace that its client must keep, and the requests that the gate makes for it. */
import { once } from 'node:events';
import { request as requestHttp } from 'node:http';
import { request as requestHttps } from 'node:https';
import { urlToHttpOptions } from 'node:url';

import { objectPath, sign } from '../lib/aws.mjs';
import { CredentialsError } from '../lib/aws-credentials.mjs';
import { clientOf, Progress } from '../lib/clients.mjs';
import { Refusal } from './refusal.mjs';

const movedOn = ({ bytesRead, bytesWritten, writableLength }) => bytesRead + bytesWritten - writableLength;

export class Exchange {
  bytes = 0;
  /** Milliseconds since 1970, until which something must have happened. */
  deadline = Number.POSITIVE_INFINITY;
  /** @type {string | undefined} of our answer */
  code;
  /** @type {string | undefined} what the upstream said */
  upstreamCode;
  /** @type {string | undefined} the name of the one who signed */
  signer;
  /** @type {number | undefined} */
  waitingSince;

  /**
   * @param {import('./gate.mjs').Gate} gate
   * @param {import('node:http').IncomingMessage} req
   * @param {import('node:http').ServerResponse<import('node:http').IncomingMessage>} res
   * @param {import('./gate.mjs').Expectation} expects
   */
  constructor(gate, req, res, expects) {
    const { bytesPerSecond: rate, progressSeconds, readingSeconds } = gate.config.limits;
    const grace = progressSeconds * 1000;
    const most = req.method === 'POST' ? grace : Math.max(grace, readingSeconds * 1000);
    this.req = req;
    this.res = res;
    this.url = req.url ?? '';
    this.expects = expects;
    this.client = clientOf(req);
    this.started = Date.now();
    this.progress = new Progress({ rate, grace, most }, this.started);
    this.moved = movedOn(req.socket);
    this.controller = new AbortController();
    this.signal = this.controller.signal;
    const gone = () => this.abort(new Refusal('RequestTimeout', 'The client has gone.'));
    if (req.socket.destroyed) gone();
    req.on('error', gone);
    res.on('error', gone).on('close', () => res.writableFinished || gone());
  }

  /** Ends everything that this exchange does; the first reason counts. */
  abort(reason) {
    this.controller.abort(reason);
  }

  /** The next bytes of the request's body. Only called while the announced length is not reached. */
  async read() {
    for (;;) {
      this.signal.throwIfAborted();
      const chunk = this.req.read();
      if (chunk) return chunk;
      await once(this.req, 'readable', { signal: this.signal });
    }
  }

  /** Waits for the upstream's event; meanwhile the client need not make progress. */
  async upstream(emitter, event) {
    const [value] = await this.patiently(once(emitter, event, { signal: this.signal }));
    return value;
  }

  /** The same for whatever the upstream does. */
  async patiently(promise) {
    this.waitingSince = Date.now();
    const value = await promise;
    this.progress.pause(Date.now() - this.waitingSince);
    this.waitingSince = undefined;
    return value;
  }

  /** Called every second: aborts when the one whose turn it is has done too little for too long. */
  check(limits, now) {
    const moved = movedOn(this.req.socket);
    this.progress.moved(moved - this.moved, now);
    this.moved = moved;
    if (this.waitingSince) {
      const silent = now - this.waitingSince > limits.upstreamSeconds * 1000;
      if (silent) this.abort(new Refusal('ServiceUnavailable', 'The upstream is silent.'));
    } else if (now > this.deadline) {
      this.abort(new Refusal('RequestTimeout', 'The fields of the form took too long.'));
    } else if (this.progress.late(now)) {
      this.abort(new Refusal('RequestTimeout', 'The client is too slow.'));
    }
  }
}

export const isBodyless = ({ headers }) =>
  !headers['transfer-encoding'] && ['0', undefined].includes(headers['content-length']);

/** A request of the gate's own, on a connection of its own: no reuse, so no request meets a connection half closed. */
export function ask(gate, exchange, method, path, headers) {
  const { upstream } = gate.config;
  const request = upstream.protocol === 'https:' ? requestHttps : requestHttp;
  const target = { ...urlToHttpOptions(upstream), path };
  const outgoing = request({ ...target, method, headers, agent: false, signal: exchange.signal });
  return outgoing.on('error', () => exchange.abort(new Refusal('ServiceUnavailable', 'The upstream failed.')));
}

/** Awaits the upstream, or the source of the gate's identity; a failure is the upstream's. */
export async function ofUpstream(exchange, promise) {
  try {
    return await exchange.patiently(promise);
  } catch (error) {
    exchange.signal.throwIfAborted();
    exchange.upstreamCode = error instanceof CredentialsError ? error.message : error.code;
    throw new Refusal('ServiceUnavailable', 'The upstream failed.');
  }
}

/** A request for an object in the name of the gate's own identity; `more` as of sign(). */
export async function signedByGate(gate, exchange, method, key, more = {}) {
  const {
    bucket,
    region,
    upstream: { host },
  } = gate.config;
  const credentials = await ofUpstream(exchange, gate.config.credentials.get());
  const path = objectPath(bucket, key);
  return { method, path, headers: sign({ method, host, path, region, credentials, ...more }) };
}
