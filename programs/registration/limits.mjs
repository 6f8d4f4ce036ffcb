/** How often what may be done: each number of the rules, and the buckets that count. docs/security.md has the sums. */

/** How often one client key, or one number, may do something: `burst` at once, and then one in each `seconds`. */
export const RULES = {
  /** New sessions of a client key. */
  sessions: { burst: 20, seconds: 30 },
  /** Codes that a client key tries. */
  guesses: { burst: 30, seconds: 120 },
  /** Codes that a client key tries for one number. */
  guessesOfNumber: { burst: 10, seconds: 3600 },
  /** Messages that a client key asks for, and that one number gets. */
  messages: { burst: 10, seconds: 300 },
  messagesOfNumber: { burst: 5, seconds: 900 },
};

/** Seconds before the next code is sent in a session, after the first, second, ... one; none after the last. */
export const SMS_DELAYS = [60, 120, 300, 600];
export const VOICE_DELAYS = [60, 300, 600];
/** Seconds before the first, second, ... code is checked in a session, after the one before. */
export const CHECK_DELAYS = [0, 0, 60, 120];

/**
 * The part of all codes that may be tried on one invitation in its whole life, or on the codes that are sent to one
 * number in a week: 1 in 20,000, so 50 codes of six digits.
 */
const SHARE = 5e-5;
export const DIGITS = 6;
/** @param {number} codes how many codes of six digits are tried as one */
export const budgetOf = (codes) => 10 ** (DIGITS * codes) * SHARE;
/** Wrong codes from which on the log says so. */
export const ATTACK = 10;
export const WINDOW_SECONDS = 7 * 86_400;

/** Slow hashes: so many a second, and at the same time; how long one is waited for, with Whisper's 15 s in mind. */
export const HASHES = { perSecond: 25, concurrent: 2, maxWaitMs: 8000, perKey: 2, total: 5000 };

const SWEEP_MS = 60_000;

/** Buckets of tokens by name. A bucket that is full again is forgotten, so those that were not used take no memory. */
export class Buckets {
  /** @type {Map<string, number>} when each is full again, in milliseconds */
  #full = new Map();
  #swept = 0;

  /**
   * @param {{ burst: number, seconds: number }} rule
   * @param {import('./clock.mjs').Clock} clock
   */
  constructor({ burst, seconds }, clock) {
    this.tokenMs = seconds * 1000;
    this.mostMs = burst * this.tokenMs;
    this.clock = clock;
  }

  /**
   * The seconds until there is a token; 0 when there is one.
   * @param {string} name
   */
  wait(name) {
    const now = this.clock.now();
    const owed = Math.max((this.#full.get(name) ?? now) - now, 0);
    return Math.ceil(Math.max(owed + this.tokenMs - this.mostMs, 0) / 1000);
  }

  /**
   * Takes one token, and returns what gives it back.
   * @param {string} name
   */
  take(name) {
    this.#sweep();
    this.#add(name, this.tokenMs);
    return () => this.#add(name, -this.tokenMs);
  }

  /**
   * @param {string} name
   * @param {number} ms
   */
  #add(name, ms) {
    const now = this.clock.now();
    const full = Math.max(this.#full.get(name) ?? now, now) + ms;
    if (full > now) this.#full.set(name, full);
    else this.#full.delete(name);
  }

  #sweep() {
    const now = this.clock.now();
    if (now - this.#swept < SWEEP_MS) return;
    this.#swept = now;
    for (const [name, full] of this.#full) if (full <= now) this.#full.delete(name);
  }
}
