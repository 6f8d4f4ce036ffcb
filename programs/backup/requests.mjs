/** Signed requests to DynamoDB and S3, with a query where there is one; what passes by itself is tried again. */
import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';

import { errorCode, scopeOf, signatureOf, textToSign } from '../lib/aws.mjs';

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

const encoded = (/** @type {string} */ text) =>
  encodeURIComponent(text).replace(/[!'()*]/g, (one) => `%${one.charCodeAt(0).toString(16).toUpperCase()}`);

/**
 * A server that is asked with one identity.
 * @param {{
 *   endpoint: URL, region: string, service: string,
 *   credentials: { get: () => Promise<import('../lib/aws.mjs').KeyPair> },
 * }} options
 */
export function server({ endpoint, region, service, credentials }) {
  async function once(what, method, path, query, headers, body) {
    const { accessKeyId, secretAccessKey, sessionToken } = await credentials.get();
    const date = new Date().toISOString().replace(/[:-]|\.\d+/g, '');
    const payload = createHash('sha256').update(body).digest('hex');
    /** @type {Record<string, string>} */
    const signed = { ...headers, 'x-amz-content-sha256': payload, 'x-amz-date': date };
    if (sessionToken) signed['x-amz-security-token'] = sessionToken;
    /** @type {Record<string, string>} */
    const all = { ...signed, host: endpoint.host };
    const names = Object.keys(all).sort();
    const asked = Object.entries(query)
      .map(([name, value]) => `${encoded(name)}=${encoded(value)}`)
      .sort()
      .join('&');
    const scope = scopeOf(date, region, service);
    const lines = names.map((name) => `${name}:${all[name]}\n`).join('');
    const text = textToSign(date, scope, [method, path, asked, lines, names.join(';'), payload]);
    const signature = signatureOf(secretAccessKey, scope, text).toString('hex');
    const credential = `Credential=${accessKeyId}/${scope.join('/')}`;
    signed.authorization = `AWS4-HMAC-SHA256 ${credential}, SignedHeaders=${names.join(';')}, Signature=${signature}`;
    const url = new URL(`${path}${asked && `?${asked}`}`, endpoint);
    const options = { method, headers: signed, redirect: /** @type {const} */ ('error') };
    const answer = await fetch(url, {
      ...options,
      ...(body.length ? { body } : {}),
      signal: AbortSignal.timeout(ANSWER_MS),
    });
    const said = await answer.text();
    const type = /"__type":\s*"(?:[^"#]*#)?([A-Za-z]{1,80})"/.exec(said)?.[1];
    if (!answer.ok) throw new RefusedError(what, answer.status, type ?? errorCode(said)[0]);
    return { text: said, headers: answer.headers };
  }

  /**
   * The answer to a request. Throws RefusedError, CredentialsError, or an Error of the network, which names `what`.
   * @param {string} what for messages
   * @param {string} method
   * @param {string} path encoded already
   * @param {{ query?: Record<string, string>, headers?: Record<string, string>, body?: Buffer | string }} [options]
   * @returns {Promise<{ text: string, headers: Headers }>}
   */
  return async (what, method, path, { query = {}, headers = {}, body = '' } = {}) => {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await once(what, method, path, query, headers, body);
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
