/** For every program that serves HTTP: it listens, answers for its health, and stops at a signal. */
import http from 'node:http';

import { stop } from './flags.mjs';
import { log, reasonOf } from './log.mjs';

/**
 * Longer than the 90 s after which Traefik, as Go's client, drops an idle connection, so that neither meets a closed
 * one.
 */
export const KEEP_ALIVE_MS = 120_000;

/**
 * Listens, and logs where. Ends the program where that is impossible.
 * @param {import('node:net').Server} server
 * @param {{ host: string | undefined, port: number }} address
 * @param {string} usage
 * @param {Record<string, unknown>} [fields] of the line in the log
 * @returns {Promise<void>} that ends when it listens
 */
export function listen(server, { host, port }, usage, fields = {}) {
  server.on('error', (/** @type {NodeJS.ErrnoException} */ error) => {
    if (server.listening) log('error', { reason: error.code });
    else stop(usage, `cannot listen on ${host ?? ''}:${port} (${error.code})`);
  });
  return new Promise((resolve) => {
    server.listen(port, host, () => {
      const bound = /** @type {import('node:net').AddressInfo} */ (server.address());
      log('listening', { ...fields, host, port: bound.port });
      resolve();
    });
  });
}

/**
 * A check of the health: what is wrong, in one line; nothing when all is well.
 * @typedef {() => string | undefined | Promise<string | undefined>} Check
 */

/** @typedef {string | undefined} Page */

/**
 * The server of a program's health, in one dialect: GET and HEAD of /livez (the container is to be restarted when it
 * fails), of /readyz (the pod gets requests while it succeeds), and of what else a program has, answer 200 and `ok`, or
 * 503 and what is wrong.
 * @param {Record<string, Check>} checks by path
 * @param {Record<string, (request: http.IncomingMessage) => Page | Promise<Page>>} [pages] texts by path, such as
 *   /metrics; nothing for one that does not exist for this request
 */
export function healthServer(checks, pages = {}) {
  return http.createServer(async (request, response) => {
    const path = (request.url ?? '').split('?', 1)[0];
    const known = Object.hasOwn(pages, path) || Object.hasOwn(checks, path);
    let [status, text] = [404, 'not found\n'];
    if (known && request.method !== 'GET' && request.method !== 'HEAD') [status, text] = [405, 'use GET\n'];
    else if (Object.hasOwn(pages, path)) {
      try {
        const page = await pages[path](request);
        if (page !== undefined) [status, text] = [200, page];
      } catch (error) {
        [status, text] = [503, `${reasonOf(error)}\n`];
      }
    } else if (known) {
      const problem = await checks[path]();
      [status, text] = problem === undefined ? [200, 'ok\n'] : [503, `${problem}\n`];
    }
    const headers = { 'Content-Type': 'text/plain; version=0.0.4', Connection: 'close' };
    response.writeHead(status, status === 405 ? { ...headers, Allow: 'GET, HEAD' } : headers).end(text);
  });
}

/**
 * Calls `stopping` at the first SIGTERM or SIGINT, and ends the process after `ms` if it still runs then.
 * @param {number} ms
 * @param {() => void} stopping
 */
export function stopAtSignal(ms, stopping) {
  for (const signal of ['SIGTERM', 'SIGINT']) {
    process.once(signal, () => {
      log('stopping', { signal });
      stopping();
      setTimeout(() => process.exit(0), ms).unref();
    });
  }
}

/** An answer of a program's own, other than success. The message repeats nothing of the request. */
export class HttpError extends Error {
  /**
   * @param {number} status
   * @param {string} message
   * @param {Record<string, string>} [headers]
   */
  constructor(status, message, headers = {}) {
    super(message);
    this.status = status;
    this.headers = headers;
  }
}
