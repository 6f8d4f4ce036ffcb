/** The four calls of the contract, and what each of them may be refused for. */
import { createHash, randomInt, timingSafeEqual } from 'node:crypto';

import { log } from '../lib/log.mjs';
import { CheckError, CreateError, GetError, SendError, Transport } from './contract.mjs';
import { GrpcError, Status } from './grpc.mjs';
import { NotWritten } from './journal.mjs';
import {
  ATTACK,
  Buckets,
  budgetOf,
  CHECK_DELAYS,
  DIGITS,
  RULES,
  SMS_DELAYS,
  VOICE_DELAYS,
  WINDOW_SECONDS,
} from './limits.mjs';
import { Busy, OPEN, VERIFIED_SECONDS } from './verifier.mjs';
import { NotSent } from './webhook.mjs';

/** @typedef {import('./sessions.mjs').Session} Session */
/** @typedef {import('./grpc.mjs').Context} Context */
/** @typedef {{ type: number, retry?: number }} Refusal `retry`: after so many seconds; undefined for never */

const NUMBER = /^[1-9][0-9]{6,14}$/;
const LANGUAGE = /^[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8}){0,3}$/;
const MESSAGE_MS = 600_000;
const MOST_KEY = 256;
/** After so long a message may be asked for again that the gateway did not take. */
const LATER_SECONDS = 30;

/** @param {Refusal} refusal */
const errorOf = ({ type, retry }) => ({ type, may_retry: retry !== undefined, retry_after_seconds: retry ?? 0 });
const ERRORS = {
  CreateSession: CreateError,
  GetSessionMetadata: GetError,
  SendVerificationCode: SendError,
  CheckVerificationCode: CheckError,
};
/** @param {string} method @param {number} type */
const nameOf = (method, type) =>
  Object.entries(ERRORS[method])
    .find(([, number]) => number === type)?.[0]
    .toLowerCase() ?? 'error';
/** @param {string} text */
const digest = (text) => createHash('sha256').update(text).digest();

export class Calls {
  /** How many calls ended how, by `method="...",outcome="..."`. @type {Map<string, number>} */
  counts = new Map();

  /**
   * @param {{
   *   clock: import('./clock.mjs').Clock, sessions: import('./sessions.mjs').Sessions,
   *   verifier: import('./verifier.mjs').Verifier, ledger: import('./ledger.mjs').Ledger,
   *   webhook?: Pick<import('./webhook.mjs').Webhook, 'send'>,
   * }} parts
   */
  constructor({ clock, sessions, verifier, ledger, webhook }) {
    this.clock = clock;
    this.sessions = sessions;
    this.verifier = verifier;
    this.ledger = ledger;
    this.webhook = webhook;
    const rules = Object.entries(RULES).map(([name, rule]) => [name, new Buckets(rule, clock)]);
    /** @type {Record<keyof typeof RULES, Buckets>} */
    this.buckets = Object.fromEntries(rules);
  }

  CreateSession({ e164, account_exists_with_e164: accountExists, rate_limit_collation_key: client }) {
    if (client.length > MOST_KEY) throw new GrpcError(Status.INVALID_ARGUMENT, 'the collation key is too long');
    const number = `${e164}`;
    const retry = this.buckets.sessions.wait(client);
    if (!NUMBER.test(number)) return this.#refused('CreateSession', { type: CreateError.ILLEGAL_PHONE_NUMBER });
    if (retry > 0) return this.#refused('CreateSession', { type: CreateError.RATE_LIMITED, retry });
    this.buckets.sessions.take(client);
    return this.#answer('CreateSession', this.sessions.create({ number, client, accountExists }));
  }

  GetSessionMetadata({ session_id: id }) {
    const session = this.sessions.get(id);
    if (!session) return this.#refused('GetSessionMetadata', { type: GetError.NOT_FOUND });
    return this.#answer('GetSessionMetadata', session);
  }

  async SendVerificationCode({ session_id: id, transport, accept_language: languages }) {
    const method = 'SendVerificationCode';
    const session = this.sessions.get(id);
    if (!session) return this.#refused(method, { type: SendError.SESSION_NOT_FOUND });
    this.sessions.use(session);
    const voice = transport === Transport.VOICE;
    const refusal = this.#unsendable(session, transport);
    if (refusal) return this.#refused(method, refusal, session);
    session.busy = true;
    try {
      const refused = this.webhook && (await this.#deliver(session, voice ? 'voice' : 'sms', languages));
      if (refused) return this.#refused(method, refused, session);
    } finally {
      session.busy = false;
    }
    const [count, delays] = voice ? [session.voice, VOICE_DELAYS] : [session.sms, SMS_DELAYS];
    const delay = delays[count.count];
    count.count += 1;
    const now = this.clock.now();
    count.next = delay === undefined ? Number.POSITIVE_INFINITY : now + delay * 1000;
    if (!voice && session.voice.count === 0) session.voice.next = now + VOICE_DELAYS[0] * 1000;
    return this.#answer(method, session);
  }

  async CheckVerificationCode({ session_id: id, verification_code: code }, /** @type {Context} */ context) {
    const method = 'CheckVerificationCode';
    const session = this.sessions.get(id);
    if (!session) return this.#refused(method, { type: CheckError.SESSION_NOT_FOUND });
    if (session.verified) return this.#answer(method, session);
    this.sessions.use(session);
    const refusal = this.#uncheckable(session);
    if (refusal) return this.#refused(method, refusal, session);
    const { guesses, guessesOfNumber } = this.buckets;
    const giveBack = [guesses.take(session.client), guessesOfNumber.take(`${session.client} ${session.number}`)];
    session.busy = true;
    try {
      const verified = await (session.message
        ? this.#compare(session, code)
        : this.verifier.check(session, code, context));
      const delay = CHECK_DELAYS[++session.checks.count];
      session.checks.next = delay === undefined ? Number.POSITIVE_INFINITY : this.clock.now() + delay * 1000;
      return this.#answer(method, verified ? /** @type {Session} */ (this.sessions.get(id)) : session);
    } catch (error) {
      for (const give of giveBack) give();
      if (error instanceof Busy)
        return this.#refused(method, { type: CheckError.RATE_LIMITED, retry: error.seconds }, session);
      this.#count(method, 'failed');
      if (!(error instanceof NotWritten)) log('error', { reason: error.code ?? error.message });
      throw new GrpcError(Status.UNAVAILABLE, 'no code can be checked now');
    } finally {
      session.busy = false;
    }
  }

  /**
   * @param {Session} session
   * @param {number} transport
   * @returns {Refusal | undefined}
   */
  #unsendable(session, transport) {
    const voice = transport === Transport.VOICE;
    if (session.verified) return { type: SendError.SESSION_ALREADY_VERIFIED };
    if (transport !== Transport.SMS && !(voice && this.webhook)) return { type: SendError.TRANSPORT_NOT_ALLOWED };
    if (voice && session.sms.count === 0) return { type: SendError.TRANSPORT_NOT_ALLOWED };
    const { next } = voice ? session.voice : session.sms;
    const retry = session.busy ? 1 : this.#until(next);
    return retry === 0 ? undefined : { type: SendError.RATE_LIMITED, retry };
  }

  /**
   * @param {Session} session
   * @returns {Refusal | undefined}
   */
  #uncheckable(session) {
    if (!session.codeSent) return { type: CheckError.NO_CODE_SENT };
    if (session.message && session.message.expires <= this.clock.now()) return { type: CheckError.ATTEMPT_EXPIRED };
    const retry = session.busy ? 1 : this.#until(session.checks.next);
    const { guesses, guessesOfNumber } = this.buckets;
    const ofClient = Math.max(
      guesses.wait(session.client),
      guessesOfNumber.wait(`${session.client} ${session.number}`),
    );
    if (retry === undefined) return { type: CheckError.RATE_LIMITED };
    return retry + ofClient === 0 ? undefined : { type: CheckError.RATE_LIMITED, retry: Math.max(retry, ofClient) };
  }

  /**
   * Has a code delivered, unless the operator has done so: an invitation counts in place of a message.
   * @param {Session} session
   * @param {'sms' | 'voice'} channel
   * @param {string} languages
   */
  async #deliver(session, channel, languages) {
    const invitation = await this.verifier.invitationOf(session);
    if (!invitation || !OPEN.has(this.verifier.stateOf(invitation).state)) {
      return this.#message(session, channel, languages);
    }
    session.message = undefined;
    return undefined;
  }

  /**
   * Has the operator's gateway send a code; what refuses it, or nothing.
   * @param {Session} session
   * @param {'sms' | 'voice'} channel
   * @param {string} languages
   * @returns {Promise<Refusal | undefined>}
   */
  async #message(session, channel, languages) {
    const { messages, messagesOfNumber } = this.buckets;
    const retry = Math.max(messages.wait(session.client), messagesOfNumber.wait(session.number));
    if (retry > 0) return { type: SendError.RATE_LIMITED, retry };
    messages.take(session.client);
    messagesOfNumber.take(session.number);
    const now = this.clock.now();
    const usable = session.message && session.message.expires > now;
    const code = usable ? session.message?.code : `${randomInt(10 ** DIGITS)}`.padStart(DIGITS, '0');
    const first = languages.split(/[,;]/, 1)[0].trim();
    const language = LANGUAGE.test(first) ? first : '';
    try {
      await this.webhook?.send({ number: `+${session.number}`, code: `${code}`, language, channel }, session.client);
    } catch (error) {
      if (!(error instanceof NotSent)) throw error;
      return { type: SendError.SENDER_REJECTED, retry: error.again ? LATER_SECONDS : undefined };
    }
    session.message = { code: `${code}`, expires: this.clock.now() + MESSAGE_MS };
    return undefined;
  }

  /**
   * Checks a code that was sent. Wrong ones are counted for the number, over its sessions.
   * @param {Session} session
   * @param {string} code
   */
  async #compare(session, code) {
    const name = digest(`messages to ${session.number}`).toString('hex').slice(0, 32);
    const now = Math.floor(this.clock.now() / 1000);
    const { count, until } = this.ledger.attempts(name);
    if (count >= budgetOf(1)) throw new Busy(until - now);
    if (count + 1 === ATTACK) log('number attacked', { attempts: ATTACK });
    if (count + 1 === budgetOf(1)) log('number locked', { attempts: count + 1, until });
    await this.ledger.attempt(name, now + WINDOW_SECONDS);
    if (!timingSafeEqual(digest(code), digest(session.message?.code ?? ''))) return false;
    const verified = { session: session.digest, number: session.number, until: now + VERIFIED_SECONDS };
    await this.ledger.verify(verified);
    return true;
  }

  /**
   * The seconds until a time; 0 when it has come, undefined when it never does.
   * @param {number} time
   */
  #until(time) {
    if (time === Number.POSITIVE_INFINITY) return undefined;
    return Math.max(Math.ceil((time - this.clock.now()) / 1000), 0);
  }

  /** @param {Session} session */
  #metadata(session) {
    const known = { session_id: session.id, verified: session.verified, e164: session.number };
    const metadata = { ...known, expiration_seconds: this.#until(session.expires) };
    if (session.verified) return metadata;
    const sms = this.#until(session.sms.next);
    const voice = this.webhook && session.sms.count > 0 ? this.#until(session.voice.next) : undefined;
    const check = session.codeSent ? this.#until(session.checks.next) : undefined;
    return {
      ...metadata,
      may_request_sms: sms !== undefined,
      next_sms_seconds: sms ?? 0,
      may_request_voice_call: voice !== undefined,
      next_voice_call_seconds: voice ?? 0,
      may_check_code: check !== undefined,
      next_code_check_seconds: check ?? 0,
    };
  }

  /**
   * @param {string} method
   * @param {Session} session
   */
  #answer(method, session) {
    this.#count(method, session.verified ? 'verified' : 'ok');
    return { session_metadata: this.#metadata(session) };
  }

  /**
   * @param {string} method
   * @param {Refusal} refusal
   * @param {Session} [session]
   */
  #refused(method, refusal, session) {
    this.#count(method, nameOf(method, refusal.type));
    return { session_metadata: session && this.#metadata(session), error: errorOf(refusal) };
  }

  /**
   * @param {string} method
   * @param {string} outcome
   */
  #count(method, outcome) {
    const label = `method="${method}",outcome="${outcome}"`;
    this.counts.set(label, (this.counts.get(label) ?? 0) + 1);
  }
}
