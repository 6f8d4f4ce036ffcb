/** Signed reads of one bucket of S3, and the flags that name it. */
import http from 'node:http';
import https from 'node:https';
import { setTimeout as sleep } from 'node:timers/promises';

import { errorCode, hostOf, objectPath, sign } from './aws.mjs';
import { Credentials, CredentialsError } from './aws-credentials.mjs';
import { must } from './flags.mjs';
import { log } from './log.mjs';

const ATTEMPTS = 3;
const RETRY_MS = 100;
/** Without the head of an answer for so long, an attempt has failed. */
const HEAD_MS = 10_000;
/** S3 closes connections that idle for longer. */
const IDLE_MS = 4000;
const ERROR_BYTES = 16 * 1024;

/**
 * An endpoint: https, or http for a server of one's own. Undefined for anything else.
 * @param {string} text
 */
export function endpointOf(text) {
  const url = URL.parse(text);
  return url && [`https://${url.host}/`, `http://${url.host}/`].includes(url.href) ? url : undefined;
}

/** Signed reads of one bucket, path-style, over connections that are kept. */
export class Bucket {
  #name;
  #region;
  #endpoint;
  #credentials;
  #client;
  #agent;

  /**
   * @param {{ name: string, region: string, endpoint: URL, credentials: Pick<Credentials, 'get'> }} options `endpoint`
   *   is without a path
   */
  constructor({ name, region, endpoint, credentials }) {
    this.#name = name;
    this.#region = region;
    this.#endpoint = endpoint;
    this.#credentials = credentials;
    this.#client = endpoint.protocol === 'https:' ? https : http;
    this.#agent = new this.#client.Agent({ keepAlive: true, timeout: IDLE_MS, maxFreeSockets: 64 });
  }

  /**
   * The answer to a GET or HEAD of an object, whatever its status, its body unread. Answers of 5xx and failures of
   * the network are tried again. Throws CredentialsError, the last failure, or the reason of `signal`.
   * @param {string} method
   * @param {string} key
   * @param {Record<string, string | number>} [headers]
   * @param {AbortSignal} [signal]
   * @returns {Promise<http.IncomingMessage>}
   */
  async read(method, key, headers = {}, signal) {
    for (let attempt = 1; ; attempt += 1) {
      const credentials = await this.#credentials.get();
      signal?.throwIfAborted();
      try {
        const answer = await this.#ask(method, objectPath(this.#name, key), headers, credentials, signal);
        if (answer.statusCode < 500 || attempt === ATTEMPTS) return answer;
        answer.destroy();
      } catch (error) {
        signal?.throwIfAborted();
        if (attempt === ATTEMPTS) throw error;
      }
      await sleep(RETRY_MS * 2 ** attempt * (0.5 + Math.random() / 2), undefined, { signal });
    }
  }

  #ask(method, path, headers, credentials, signal) {
    const { host, hostname, port } = this.#endpoint;
    const signed = sign({ method, host, path, headers, region: this.#region, credentials });
    const where = { hostname: hostname.replace(/^\[|\]$/g, ''), port: port || undefined, path };
    return new Promise((resolve, reject) => {
      const request = this.#client.request({ ...where, method, headers: signed, agent: this.#agent, signal });
      const silent = () => request.destroy(Object.assign(new Error('S3 is silent'), { code: 'ETIMEDOUT' }));
      const timer = setTimeout(silent, HEAD_MS);
      const settle = (with_) => (value) => {
        clearTimeout(timer);
        with_(value);
      };
      request.on('response', settle(resolve)).on('error', settle(reject)).end();
    });
  }
}

/**
 * The code of S3's error in an answer's body, as a list of one or none; the body is read, and thrown away.
 * @param {http.IncomingMessage} answer
 * @returns {Promise<string[]>}
 */
export async function codeOf(answer) {
  const chunks = [];
  let size = 0;
  for await (const chunk of answer) {
    size += chunk.length;
    if (size > ERROR_BYTES) break;
    chunks.push(chunk);
  }
  return errorCode(Buffer.concat(chunks).toString('latin1'));
}

/** For Flags. The endpoint is for servers of one's own that speak S3. */
export const S3_FLAGS = {
  's3-bucket': undefined,
  's3-region': undefined,
  's3-prefix': undefined,
  's3-endpoint': undefined,
};
export const S3_USAGE = '--s3-bucket NAME --s3-region REGION [--s3-prefix PREFIX] [--s3-endpoint URL]';

/**
 * The bucket that the flags name. As tusd has it, a slash follows a prefix that has none. Throws FlagError, also for an
 * environment without credentials. Renewals that fail are logged.
 * @param {import('./flags.mjs').Flags} flags
 * @param {string} session names the program in CloudTrail
 */
export function storeOf(flags, session) {
  const name = flags.text('s3-bucket', /^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/, 'must be the name of a bucket');
  const region = flags.text('s3-region', /^[a-z0-9-]+$/, 'must be the name of a region');
  const prefix = flags.text(
    's3-prefix',
    /^([A-Za-z0-9_-]+(\/|$))*$/,
    'must be names and slashes, such as attachments/',
  );
  const address = flags.text('s3-endpoint', /^/);
  const endpoint = flags.has('s3-endpoint') ? endpointOf(address) : new URL(`https://${hostOf('s3', region)}`);
  must(endpoint, '--s3-endpoint must be https://HOST or http://HOST[:PORT]');
  try {
    const report = (/** @type {Error} */ error) => log('credentials-error', { reason: error.message });
    const credentials = new Credentials({ region, session, report });
    const bucket = new Bucket({ name, region, endpoint, credentials });
    return { credentials, bucket, name, region, endpoint, prefix: prefix.replace(/[^/]$/, '$&/') };
  } catch (error) {
    must(!(error instanceof CredentialsError), /** @type {Error} */ (error).message);
    throw error;
  }
}
