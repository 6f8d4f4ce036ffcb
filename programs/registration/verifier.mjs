/**
 * Decides if a code is right, at the same price for every number: one place in the queue, one slow hash, one record on
 * the volume. Who asks for a number without an invitation pays the same and always hears that the code is wrong.
 */
import { scrypt, timingSafeEqual } from 'node:crypto';

import { log } from '../lib/log.mjs';
import { UNINVITED } from './ledger.mjs';
import { ATTACK, budgetOf, DIGITS } from './limits.mjs';

/** @typedef {import('./invitations.mjs').Invitation} Invitation */
/** @typedef {import('./sessions.mjs').Session} Session */
/** @typedef {import('./ledger.mjs').Ledger} Ledger */
/** @typedef {(password: string, invitation: Invitation) => Buffer | Promise<Buffer>} Hash */

/** Too many ask; after so many seconds it may be tried again. */
export class Busy extends Error {
  /** @param {number} seconds */
  constructor(seconds) {
    super('too many codes are checked');
    this.seconds = seconds;
  }
}

/** Verified sessions last so long: their code works no second time. */
export const VERIFIED_SECONDS = 3600;
/** The states of an invitation in which its code counts. */
export const OPEN = new Set(['waiting', 'attacked']);
const CODE = new RegExp(`^[0-9]{${DIGITS}}$`);

/** @type {Hash} */
export const slowHash = (password, { salt, hash, cost }) =>
  new Promise((resolve, reject) => {
    const options = { N: cost.n, r: cost.r, p: cost.p, maxmem: 256 * cost.n * cost.r * cost.p };
    scrypt(password, salt, hash.length, options, (error, key) => (error ? reject(error) : resolve(key)));
  });

export class Verifier {
  /**
   * @param {{
   *   clock: import('./clock.mjs').Clock, queue: import('./queue.mjs').FairQueue, ledger: Ledger, hash: Hash,
   *   invitations: Pick<import('./invitations.mjs').Invitations, 'current' | 'standIn'>,
   * }} parts
   */
  constructor({ clock, queue, ledger, hash, invitations }) {
    this.clock = clock;
    this.queue = queue;
    this.ledger = ledger;
    this.hash = hash;
    this.invitations = invitations;
  }

  get #now() {
    return Math.floor(this.clock.now() / 1000);
  }

  /**
   * waiting: a right code verifies. attacked: it does, and many wrong ones were tried. locked: so many that no code
   * counts any more. used and expired: it did.
   * @param {Invitation} invitation
   */
  stateOf({ id, expires, codes }) {
    const { count, since } = this.ledger.attempts(id);
    const used = this.ledger.used(id);
    const wrong = count - (used === undefined ? 0 : 1);
    if (used !== undefined) return { state: 'used', wrong, since: used };
    if (expires <= this.#now) return { state: 'expired', wrong, since: expires };
    if (count >= budgetOf(codes)) return { state: 'locked', wrong, since };
    if (count >= ATTACK) return { state: 'attacked', wrong, since };
    return { state: 'waiting', wrong, since: null };
  }

  /**
   * The invitation that counts for a session now, if any: a number that has an account needs one that says so.
   * @param {Session} session
   */
  async invitationOf({ number, accountExists }) {
    const found = (await this.invitations.current()).get(number);
    return found && (found.again || !accountExists) ? found : undefined;
  }

  /**
   * Checks a code that was typed in a session. Throws Busy when no place was free in time, and NotWritten, or an error
   * of the file system, when nothing can be checked; then nothing counts.
   * @param {Session} session
   * @param {string} code
   * @param {import('./grpc.mjs').Context} context
   * @returns {Promise<boolean>} whether the session is verified, which the volume then has
   */
  async check(session, code, { signal, milliseconds }) {
    const leave = await this.queue.enter(session.client, { signal, milliseconds: milliseconds / 2 });
    if (!leave) throw new Busy(this.queue.retrySeconds);
    try {
      return await this.#checked(session, code);
    } finally {
      leave();
    }
  }

  /**
   * @param {Session} session
   * @param {string} code
   */
  async #checked(session, code) {
    const invited = await this.invitationOf(session);
    // All of this is done for every number: its time would give away what is done for one kind alone.
    const standIn = this.invitations.standIn(session.number);
    const invitation = invited ?? standIn;
    const open = OPEN.has(this.stateOf(invitation).state) && invited !== undefined;
    const typed = CODE.test(code) ? code : '';
    const password = invitation.codes === 2 ? `${session.previous}${typed}` : typed;
    const attempt = this.ledger.attempt(invitation.id, invitation.expires);
    const hashed = this.hash(password, invitation);
    this.#tell(invitation); // while the hash is made, so that it takes no time of its own
    // The attempt is counted, and nobody learns anything before it is on the volume.
    const [hash] = await Promise.all([hashed, attempt]);
    session.previous = typed;
    const same = timingSafeEqual(hash, invitation.hash);
    if (!same || !open || this.ledger.used(invitation.id) !== undefined) return false;
    const until = this.#now + VERIFIED_SECONDS;
    await this.ledger.verify({ session: session.digest, number: session.number, until }, invitation);
    return true;
  }

  /**
   * Tells the operator once of an attack and of its end, without the number: `./flatline invitations` has it.
   * @param {Invitation} invitation
   */
  #tell({ id, codes }) {
    const { count } = this.ledger.attempts(id);
    const fields = { invitation: id.slice(0, 8), attempts: count };
    if (id === UNINVITED) return;
    if (count === ATTACK) log('invitation attacked', fields);
    if (count === budgetOf(codes)) log('invitation locked', fields);
  }
}
