/** Signed requests to DynamoDB and S3, with a query where there is one; what passes by itself is tried again. */
import { setTimeout as sleep } from 'node:timers/promises';

import { errorCode, send } from '../lib/aws.mjs';

const ATTEMPTS = 8;
const FIRST_PAUSE_MS = 200;
const LONGEST_PAUSE_MS = 20_000;
const ANSWER_MS = 60_000;
const THROTTLED = /Throttl|ProvisionedThroughputExceeded|RequestLimitExceeded|SlowDown/;

/** A server's refusal. The message has the status and the code alone: what else it says may quote a record. */
export class RefusedError extends Error {
  constructor(what, status, code = '') {
    super([`${what}: status ${status}`, code].join(' ').trim());
    this.status = status;
    this.passing = status >= 500 || status === 429 || THROTTLED.test(code);
  }
}

/**
 * A server that is asked with one identity.
 * @param {{
 *   endpoint: URL, region: string, service: string,
 *   credentials: { get: () => Promise<import('../lib/aws.mjs').KeyPair> },
 * }} options
 */
export function server({ credentials, ...place }) {
  /**
   * The answer to a request. Throws RefusedError, CredentialsError, or an Error of the network, which names `what`.
   * @param {string} what for messages
   * @param {string} method
   * @param {string} path encoded already
   * @param {{ query?: Record<string, string>, headers?: Record<string, string>, body?: Buffer | string }} [options]
   * @returns {Promise<{ text: string, headers: Headers }>}
   */
  return async (what, method, path, options) => {
    for (let attempt = 1; ; attempt += 1) {
      try {
        const request = { ...place, ...options, method, path, credentials: await credentials.get() };
        const { answer, text } = await send({ ...request, redirect: 'error', milliseconds: ANSWER_MS });
        if (answer.ok) return { text, headers: answer.headers };
        throw new RefusedError(what, answer.status, ...errorCode(text));
      } catch (error) {
        const network = error instanceof TypeError || error.name === 'TimeoutError';
        if (!(network || error.passing)) throw error;
        const reason = error.cause?.code ?? error.name;
        if (attempt === ATTEMPTS) throw network ? new Error(`${what}: no answer (${reason})`) : error;
      }
      const pause = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** attempt);
      await sleep(pause * (0.5 + Math.random() / 2));
    }
  };
}
