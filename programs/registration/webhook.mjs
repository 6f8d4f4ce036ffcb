/**
 * Sends codes by the operator's own gateway: one POST of JSON for each, signed as Standard Webhooks have it
 * (github.com/standard-webhooks/standard-webhooks).
 *
 *   webhook-id: msg_...            the same for each try of one message, so a gateway can drop what comes twice
 *   webhook-timestamp: 1790000000  seconds since 1970
 *   webhook-signature: v1,<base64 HMAC-SHA256 of "<id>.<timestamp>.<body>">
 *   {"number": "+12025550123", "code": "123456", "language": "de", "channel": "sms"}
 *
 * 2xx: the gateway has taken it. 4xx: it refuses, but for 408, 425 and 429. Those, 5xx and no answer are tried again.
 */
import { createHmac, randomUUID } from 'node:crypto';

import { Concurrency } from '../lib/clients.mjs';
import { must } from '../lib/flags.mjs';
import { log } from '../lib/log.mjs';

/** The message was not taken. `again`: it may be later. */
export class NotSent extends Error {
  /** @param {boolean} again */
  constructor(again) {
    super('the gateway did not take the message');
    this.again = again;
  }
}

/** @typedef {{ number: string, code: string, language: string, channel: 'sms' | 'voice' }} Message */

const TRIES = 3;
/** All tries together end before Whisper's 15 s do. */
const TRY_MS = 3500;
const PAUSE_MS = 300;
const RETRIED = new Set([408, 425, 429]);
const ACTIVE = { total: 16, perClient: 2 };

/**
 * The key of a signature: the text itself, or what follows `whsec_`, in base64.
 * @param {string} secret
 */
function keyOf(secret) {
  const key = secret.startsWith('whsec_') ? Buffer.from(secret.slice(6), 'base64') : Buffer.from(secret);
  must(key.length >= 16, '--webhook-secret-file must hold a key of 16 bytes or more, as text or as whsec_<base64>');
  return key;
}

/** @param {string} text */
function endpointOf(text) {
  const url = URL.parse(text);
  must(url && /^https?:$/.test(url.protocol), '--webhook must be a URL that begins with https:// or http://');
  must(!url.username && !url.password, '--webhook must have no user name and no password: requests are signed');
  return url;
}

export class Webhook {
  #url;
  #key;
  #active = new Concurrency(ACTIVE);

  /**
   * Throws a FlagError.
   * @param {string} url
   * @param {string} secret
   */
  constructor(url, secret) {
    this.#url = endpointOf(url);
    this.#key = keyOf(secret);
  }

  /**
   * Ends when the gateway has taken the message; throws NotSent.
   * @param {Message} message
   * @param {string} client
   */
  async send(message, client) {
    const leave = this.#active.enter(client);
    if (!leave) throw new NotSent(true);
    try {
      await this.#send(JSON.stringify(message));
    } finally {
      leave();
    }
  }

  /** @param {string} body */
  async #send(body) {
    const id = `msg_${randomUUID()}`;
    for (let tries = 1; ; tries += 1) {
      const problem = await this.#try(id, body);
      if (problem === undefined) return;
      const again = typeof problem === 'string' || problem >= 500 || RETRIED.has(problem);
      if (!again || tries === TRIES) {
        log('message not sent', { reason: problem, tries });
        throw new NotSent(again);
      }
      const pause = PAUSE_MS * 2 ** (tries - 1) * (1 + Math.random());
      await new Promise((resolve) => setTimeout(resolve, pause));
    }
  }

  /**
   * @param {string} id
   * @param {string} body
   * @returns {Promise<undefined | number | string>} nothing, or the status, or why there is none
   */
  async #try(id, body) {
    const timestamp = `${Math.floor(Date.now() / 1000)}`;
    const signature = createHmac('sha256', this.#key).update(`${id}.${timestamp}.${body}`).digest('base64');
    const headers = {
      'content-type': 'application/json',
      'webhook-id': id,
      'webhook-timestamp': timestamp,
      'webhook-signature': `v1,${signature}`,
    };
    try {
      const signal = AbortSignal.timeout(TRY_MS);
      const answer = await fetch(this.#url, { method: 'POST', headers, body, signal, redirect: 'manual' });
      await answer.body?.cancel();
      return answer.ok ? undefined : answer.status;
    } catch (error) {
      return `${error.cause?.code ?? error.name}`;
    }
  }
}
