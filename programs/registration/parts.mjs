/** How the parts of registration belong together. The clock, the store and the hash are given: tests have others. */
import { Calls } from './calls.mjs';
import { Ledger } from './ledger.mjs';
import { HASHES } from './limits.mjs';
import { FairQueue } from './queue.mjs';
import { Sessions } from './sessions.mjs';
import { Verifier } from './verifier.mjs';

/**
 * @param {{
 *   clock: import('./clock.mjs').Clock, store: import('./ledger.mjs').Store, hash: import('./verifier.mjs').Hash,
 *   invitations: import('./invitations.mjs').Invitations, webhook?: import('./webhook.mjs').Webhook,
 *   hashes?: import('./queue.mjs').Limits,
 * }} given
 */
export function partsOf({ clock, store, hash, invitations, webhook, hashes = HASHES }) {
  const ledger = new Ledger(store, clock);
  const queue = new FairQueue(hashes, clock);
  const sessions = new Sessions(ledger, clock);
  const verifier = new Verifier({ clock, queue, ledger, hash, invitations });
  const calls = new Calls({ clock, sessions, verifier, ledger, webhook });
  return { calls, invitations, ledger, queue, sessions, verifier };
}
