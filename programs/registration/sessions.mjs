/** The sessions in which people register: in memory, but for the verified ones, which the ledger keeps. */
import { createHash, randomBytes } from 'node:crypto';

/** @typedef {import('./clock.mjs').Clock} Clock */

const ID_BYTES = 16;
/** A session ends so long after the last that was done in it, and in any case so long after its beginning. */
const IDLE_MS = 600_000;
const LONGEST_MS = 3_600_000;
/** So many are open at once: of one client key, and of all. Beyond that, the one that was used least lately ends. */
const MOST_OF_CLIENT = 30;
const MOST = 50_000;
const SWEEP_MS = 10_000;

/** @param {Buffer} id */
const digestOf = (id) => createHash('sha256').update(id).digest('hex');

export class Session {
  id = randomBytes(ID_BYTES);
  digest = digestOf(this.id);
  /** How many codes were sent by each transport, and checked; the earliest time of the next, in milliseconds. */
  sms = { count: 0, next: 0 };
  voice = { count: 0, next: 0 };
  checks = { count: 0, next: 0 };
  /** True while one of its codes is being checked or sent. */
  busy = false;
  /** The code that was checked before. */
  previous = '';
  /** The code that the operator's gateway sent. @type {{ code: string, expires: number } | undefined} */
  message;
  verified = false;

  /**
   * @param {{ number: string, client: string, accountExists: boolean }} origin
   * @param {number} now
   */
  constructor({ number, client, accountExists }, now) {
    this.number = number;
    this.client = client;
    this.accountExists = accountExists;
    this.created = now;
    this.expires = now + IDLE_MS;
  }

  get codeSent() {
    return this.sms.count + this.voice.count > 0;
  }
}

export class Sessions {
  /** @type {Map<string, Session>} by digest, the least lately used first */
  #open = new Map();
  /** @type {Map<string, Set<Session>>} by client key, in the same order */
  #ofClient = new Map();
  #swept = 0;

  /**
   * @param {import('./ledger.mjs').Ledger} ledger
   * @param {Clock} clock
   */
  constructor(ledger, clock) {
    this.ledger = ledger;
    this.clock = clock;
  }

  /** How many are open. */
  get size() {
    return this.#open.size;
  }

  /** @param {{ number: string, client: string, accountExists: boolean }} origin */
  create(origin) {
    const session = new Session(origin, this.clock.now());
    this.#sweep();
    this.#add(session);
    const mine = this.#ofClient.get(session.client);
    if (mine && mine.size > MOST_OF_CLIENT) this.#end(mine.values().next().value);
    if (this.#open.size > MOST) this.#end(this.#open.values().next().value);
    return session;
  }

  /**
   * The session with this id that has not ended.
   * @param {Buffer} id
   * @returns {Session | undefined}
   */
  get(id) {
    const digest = digestOf(id);
    const now = this.clock.now();
    const verified = this.ledger.verified(digest);
    if (verified) {
      const session = new Session({ number: verified.number, client: '', accountExists: false }, now);
      return Object.assign(session, { id, digest, verified: true, expires: verified.until * 1000 });
    }
    const session = this.#open.get(digest);
    return session && session.expires > now ? session : undefined;
  }

  /**
   * A session that was used lives longer.
   * @param {Session} session
   */
  use(session) {
    if (!this.#open.has(session.digest)) return;
    session.expires = Math.min(this.clock.now() + IDLE_MS, session.created + LONGEST_MS);
    this.#end(session);
    this.#add(session);
  }

  /** @param {Session} session */
  #add(session) {
    this.#open.set(session.digest, session);
    const mine = this.#ofClient.get(session.client) ?? new Set();
    this.#ofClient.set(session.client, mine.add(session));
  }

  /** @param {Session | undefined} session */
  #end(session) {
    if (!session) return;
    this.#open.delete(session.digest);
    const mine = this.#ofClient.get(session.client);
    mine?.delete(session);
    if (mine?.size === 0) this.#ofClient.delete(session.client);
  }

  #sweep() {
    const now = this.clock.now();
    if (now - this.#swept < SWEEP_MS) return;
    this.#swept = now;
    for (const session of this.#open.values()) if (session.expires <= now) this.#end(session);
  }
}
