/**
 * Who is next, when more is asked than can be done: the client key that was served least lately, and before all the one
 * that was never served. So many keys that ask all the time hold up a single one for one round of theirs at most.
 */

/** @typedef {import('./clock.mjs').Clock} Clock */
/** @typedef {{ perSecond: number, concurrent: number, maxWaitMs: number, perKey: number, total: number }} Limits */
/** @typedef {{ key: string, settle: (leave: (() => void) | undefined) => void }} Entry */

/** So many keys are remembered with the time at which they were served. */
const MOST_KEYS = 20_000;
/** Who is sent away is asked to come again soon: the turn can be theirs only while they wait. */
const RETRY_SECONDS = [5, 15];
const NEVER = Number.NEGATIVE_INFINITY;

export class FairQueue {
  /** @type {Set<Entry>} that wait, in the order in which they came: few enough to look at all of them each time */
  #entries = new Set();
  /** @type {Map<string, number>} when each key was served, the least lately served first */
  #served = new Map();
  #active = 0;
  #nextStart = 0;
  #intervalMs;
  #lastStart = 0;
  #timer = false;

  /**
   * @param {Limits} limits
   * @param {Clock} clock
   */
  constructor(limits, clock) {
    this.limits = limits;
    this.clock = clock;
    this.#intervalMs = 1000 / limits.perSecond;
  }

  /** How many wait. */
  get waiting() {
    return this.#entries.size;
  }

  /** The seconds after which one who was sent away may try again: about a round of all who wait. */
  get retrySeconds() {
    const [least, most] = RETRY_SECONDS;
    return Math.min(Math.max(Math.ceil((this.#entries.size * this.#intervalMs) / 1000), least), most);
  }

  /**
   * A place: what gives it back, or nothing when none was free in time.
   * @param {string} key
   * @param {{ milliseconds?: number, signal?: AbortSignal }} [patience]
   * @returns {Promise<(() => void) | undefined>}
   */
  enter(key, { milliseconds = this.limits.maxWaitMs, signal } = {}) {
    const entries = this.#entries;
    const mine = entries.values().reduce((count, entry) => count + Number(entry.key === key), 0);
    if (mine >= this.limits.perKey || milliseconds <= 0 || signal?.aborted) return Promise.resolve(undefined);
    return new Promise((resolve) => {
      const entry = { key, settle };
      const gone = () => settle(undefined);
      const cancel = this.clock.after(Math.min(milliseconds, this.limits.maxWaitMs), gone);
      /** @param {(() => void) | undefined} leave */
      function settle(leave) {
        if (!entries.delete(entry)) return;
        cancel();
        signal?.removeEventListener('abort', gone);
        resolve(leave);
      }
      signal?.addEventListener('abort', gone);
      entries.add(entry);
      if (entries.size > this.limits.total) this.#find((one, other) => one >= other)?.settle(undefined);
      this.#pump();
    });
  }

  /**
   * The entry that beats all that came before it, by the time at which its key was served.
   * @param {(one: number, other: number) => boolean} beats
   */
  #find(beats) {
    /** @type {Entry | undefined} */
    let found;
    let best = NEVER;
    for (const entry of this.#entries) {
      const served = this.#served.get(entry.key) ?? NEVER;
      if (!found || beats(served, best)) [found, best] = [entry, served];
    }
    return found;
  }

  #pump() {
    while (this.#active < this.limits.concurrent && !this.#timer) {
      const now = this.clock.now();
      if (now < this.#nextStart) return this.#later(this.#nextStart - now);
      const entry = this.#find((one, other) => one < other);
      if (!entry) return undefined;
      this.#start(entry, now);
    }
    return undefined;
  }

  /** @param {number} ms */
  #later(ms) {
    if (this.#entries.size === 0) return;
    this.#timer = true;
    this.clock.after(ms, () => {
      this.#timer = false;
      this.#pump();
    });
  }

  /**
   * @param {Entry} entry
   * @param {number} now
   */
  #start(entry, now) {
    const { key } = entry;
    this.#served.delete(key);
    this.#served.set(key, now);
    if (this.#served.size > MOST_KEYS) this.#served.delete(/** @type {string} */ (this.#served.keys().next().value));
    if (this.#entries.size > 1) this.#intervalMs += (Math.min(now - this.#lastStart, 5000) - this.#intervalMs) / 16;
    this.#lastStart = now;
    this.#nextStart = now + 1000 / this.limits.perSecond;
    this.#active += 1;
    let left = false;
    entry.settle(() => {
      if (left) return;
      left = true;
      this.#active -= 1;
      this.#pump();
    });
  }
}
