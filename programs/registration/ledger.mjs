/**
 * Keeps across a restart how many codes were tried on each invitation, which invitations were used, and which sessions
 * are verified. It is on the volume before an answer depends on it.
 */

/** @typedef {import('./clock.mjs').Clock} Clock */
/** @typedef {{ count: number, since: number, until: number }} Attempts times in seconds since 1970 */
/** @typedef {{ since: number, until: number }} Use */
/** @typedef {{ session: string, number: string, until: number }} Verified by the digest of the session's id */
/**
 * @typedef {{
 *   append: (record: Record<string, any>) => Promise<void>, snapshot: () => Record<string, any>[],
 * }} Store
 */

/** All numbers without an invitation share this name: their attempts are written like others, and one count is kept. */
export const UNINVITED = '0'.repeat(32);
/** The end of what has none: later than all others, and written with as many digits. */
export const FOREVER = 9_999_999_999;

export class Ledger {
  /** @type {Map<string, Attempts>} */
  #attempts = new Map();
  /** @type {Map<string, Use>} */
  #used = new Map();
  /** @type {Map<string, Verified>} */
  #verified = new Map();

  /**
   * @param {Store} store
   * @param {Clock} clock
   */
  constructor(store, clock) {
    this.store = store;
    this.clock = clock;
    store.snapshot = () => this.#snapshot();
  }

  get #now() {
    return Math.floor(this.clock.now() / 1000);
  }

  /**
   * Takes over what the volume has.
   * @param {Record<string, any>[]} records
   */
  load(records) {
    for (const { type, name, count, since, until, session, number } of records) {
      if (type === 'attempts') this.#count(name, { count, since, until });
      if (type === 'used') this.#used.set(name, { since, until });
      if (type === 'verified') this.#verified.set(session, { session, number, until });
      if (type === 'verified' && name) this.#used.set(name, { since, until: count });
    }
  }

  /**
   * Counts a code that is tried, until `until`. When the promise ends it is on the volume; when it fails it is not
   * counted.
   * @param {string} name
   * @param {number} until
   */
  async attempt(name, until) {
    const record = { type: 'attempts', name, count: 1, since: this.#now, until };
    const attempts = this.#count(name, record);
    try {
      await this.store.append(record);
    } catch (error) {
      attempts.count -= 1;
      throw error;
    }
  }

  /**
   * Records a verified session, and that its invitation, if it has one, is used; both or none.
   * @param {Verified} verified
   * @param {{ id: string, expires: number }} [invitation]
   */
  async verify(verified, invitation) {
    const since = this.#now;
    this.#verified.set(verified.session, verified);
    if (invitation) this.#used.set(invitation.id, { since, until: invitation.expires });
    try {
      const use = invitation && { name: invitation.id, count: invitation.expires, since };
      await this.store.append({ type: 'verified', ...verified, ...use });
    } catch (error) {
      this.#verified.delete(verified.session);
      if (invitation) this.#used.delete(invitation.id);
      throw error;
    }
  }

  /**
   * How many codes were tried, and since when; none after their end.
   * @param {string} name
   * @returns {Attempts}
   */
  attempts(name) {
    const found = this.#attempts.get(name);
    return found && found.until > this.#now ? found : { count: 0, since: 0, until: 0 };
  }

  /**
   * When an invitation was used, in seconds since 1970.
   * @param {string} id
   */
  used(id) {
    return this.#used.get(id)?.since;
  }

  /**
   * A session that is verified, by the digest of its id.
   * @param {string} session
   */
  verified(session) {
    const found = this.#verified.get(session);
    return found && found.until > this.#now ? found : undefined;
  }

  /** Forgets what has ended. */
  sweep() {
    const now = this.#now;
    /** @type {Map<string, { until: number }>[]} */
    const maps = [this.#attempts, this.#used, this.#verified];
    for (const map of maps) for (const [name, { until }] of map) if (until <= now) map.delete(name);
  }

  /**
   * @param {string} name
   * @param {Attempts} more
   */
  #count(name, { count, since, until }) {
    const known = this.#attempts.get(name);
    if (known && known.until > since) {
      known.count += count;
      return known;
    }
    const attempts = { count, since, until };
    this.#attempts.set(name, attempts);
    return attempts;
  }

  #snapshot() {
    this.sweep();
    return [
      ...[...this.#attempts].map(([name, attempts]) => ({ type: 'attempts', name, ...attempts })),
      ...[...this.#used].map(([name, use]) => ({ type: 'used', name, ...use })),
      ...[...this.#verified.values()].map((verified) => ({ type: 'verified', ...verified })),
    ];
  }
}
