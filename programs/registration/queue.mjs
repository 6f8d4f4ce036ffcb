/**
 * Who is next, when more is asked than can be done: the client key that was served least lately, and before all the one
 * that was never served. So many keys that ask all the time hold up a single one for one round of theirs at most.
 */

/** @typedef {import('./clock.mjs').Clock} Clock */
/** @typedef {{ perSecond: number, concurrent: number, maxWaitMs: number, perKey: number, total: number }} Limits */
/**
 * @typedef {{
 *   key: string, rank: number, number: number, settle: (leave: (() => void) | undefined) => void, done: boolean,
 * }} Entry
 */

/** So many keys are remembered with the time at which they were served. */
const MOST_KEYS = 20_000;
/** Who is sent away is asked to come again soon: the turn can be theirs only while they wait. */
const RETRY_SECONDS = [5, 15];
/** So many entries that were sent away may be kept beside those that wait. */
const MOST_GONE = 1000;
const NEVER = Number.NEGATIVE_INFINITY;

/** @param {Entry} one @param {Entry} other */
const before = (one, other) => one.rank < other.rank || (one.rank === other.rank && one.number < other.number);

/** A binary heap, the first entry on its top. */
class Heap {
  /** @type {Entry[]} */
  entries = [];

  /** @param {Entry} entry */
  push(entry) {
    const { entries } = this;
    let index = entries.push(entry) - 1;
    while (index > 0) {
      const parent = (index - 1) >> 1;
      if (!before(entry, entries[parent])) break;
      entries[index] = entries[parent];
      index = parent;
    }
    entries[index] = entry;
  }

  pop() {
    const { entries } = this;
    const top = entries[0];
    const last = entries.pop();
    if (last === undefined || entries.length === 0) return top;
    let index = 0;
    for (;;) {
      let child = 2 * index + 1;
      if (child >= entries.length) break;
      if (child + 1 < entries.length && before(entries[child + 1], entries[child])) child += 1;
      if (!before(entries[child], last)) break;
      entries[index] = entries[child];
      index = child;
    }
    entries[index] = last;
    return top;
  }
}

export class FairQueue {
  #heap = new Heap();
  /** @type {Map<string, number>} when each key was served, the least lately served first */
  #served = new Map();
  /** @type {Map<string, number>} how many entries of each key wait */
  #waiting = new Map();
  #count = 0;
  #number = 0;
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
    return this.#count;
  }

  /** The seconds after which one who was sent away may try again: about a round of all who wait. */
  get retrySeconds() {
    const [least, most] = RETRY_SECONDS;
    return Math.min(Math.max(Math.ceil((this.#count * this.#intervalMs) / 1000), least), most);
  }

  /**
   * A place: what gives it back, or nothing when none was free in time.
   * @param {string} key
   * @param {{ milliseconds?: number, signal?: AbortSignal }} [patience]
   * @returns {Promise<(() => void) | undefined>}
   */
  enter(key, { milliseconds = this.limits.maxWaitMs, signal } = {}) {
    const mine = this.#waiting.get(key) ?? 0;
    if (mine >= this.limits.perKey || milliseconds <= 0 || signal?.aborted) return Promise.resolve(undefined);
    return new Promise((resolve) => {
      const entry = { key, rank: this.#served.get(key) ?? NEVER, number: this.#number++, settle, done: false };
      const gone = () => settle(undefined);
      const cancel = this.clock.after(Math.min(milliseconds, this.limits.maxWaitMs), gone);
      const add = (/** @type {number} */ change) => {
        const left = (this.#waiting.get(key) ?? 0) + change;
        if (left > 0) this.#waiting.set(key, left);
        else this.#waiting.delete(key);
        this.#count += change;
      };
      /** @param {(() => void) | undefined} leave */
      function settle(leave) {
        if (entry.done) return;
        entry.done = true;
        cancel();
        signal?.removeEventListener('abort', gone);
        add(-1);
        resolve(leave);
      }
      signal?.addEventListener('abort', gone);
      add(1);
      this.#heap.push(entry);
      if (this.#count > this.limits.total) this.#sendLastAway();
      if (this.#heap.entries.length > 2 * this.#count + MOST_GONE) this.#forgetGone();
      this.#pump();
    });
  }

  #sendLastAway() {
    const waiting = this.#heap.entries.filter(({ done }) => !done);
    waiting.reduce((last, entry) => (before(last, entry) ? entry : last)).settle(undefined);
  }

  #forgetGone() {
    const { entries } = this.#heap;
    this.#heap = new Heap();
    for (const entry of entries) if (!entry.done) this.#heap.push(entry);
  }

  /** @returns {Entry | undefined} */
  #next() {
    for (;;) {
      const entry = this.#heap.pop();
      if (!entry) return undefined;
      const rank = this.#served.get(entry.key) ?? entry.rank;
      if (!entry.done && rank === entry.rank) return entry;
      if (!entry.done) this.#heap.push(Object.assign(entry, { rank })); // its key was served meanwhile
    }
  }

  #pump() {
    while (this.#active < this.limits.concurrent && !this.#timer) {
      const now = this.clock.now();
      if (now < this.#nextStart) return this.#later(this.#nextStart - now);
      const entry = this.#next();
      if (!entry) return undefined;
      this.#start(entry, now);
    }
    return undefined;
  }

  /** @param {number} ms */
  #later(ms) {
    if (this.#count === 0) return;
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
    if (this.#count > 1) this.#intervalMs += (Math.min(now - this.#lastStart, 5000) - this.#intervalMs) / 16;
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
