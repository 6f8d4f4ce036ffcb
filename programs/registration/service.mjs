/**
 * Registration: who may have an account. It fulfils the contract of Signal's registration service (contract.mjs) for
 * Whisper, which asks it by gRPC on --listen.
 *
 * A number is verified by the code of an invitation that the operator issued for it (--invitations, invitations.mjs),
 * or, with --webhook, by a code that the operator's own gateway delivers (webhook.mjs). Numbers without an invitation
 * are answered as those with one, and never verified. A code works once.
 *
 * --state has what must outlive a restart (ledger.mjs). Open sessions are in memory: a restart costs their people a new
 * beginning. While the state cannot be written no code is checked, and the program is not ready. One process at a time
 * may use a state.
 *
 * --health-listen: /livez, /readyz, /metrics, and /invitations for the pod itself. No log has a number, a code, or the
 * address or key of a client. At SIGTERM callers get a GOAWAY, and calls under way are answered.
 */
import { configured, Flags, stop } from '../lib/flags.mjs';
import { log } from '../lib/log.mjs';
import { healthServer, listen, stopAtSignal } from '../lib/server.mjs';
import { systemClock } from './clock.mjs';
import { METHODS, SERVICE } from './contract.mjs';
import { grpcServer } from './grpc.mjs';
import { Invitations } from './invitations.mjs';
import { Journal } from './journal.mjs';
import { partsOf } from './parts.mjs';
import { invitationsPage, metricsPage } from './status.mjs';
import { slowHash } from './verifier.mjs';
import { Webhook } from './webhook.mjs';

const USAGE = `registration/service.mjs --listen [ADDRESS]:PORT --health-listen [ADDRESS]:PORT --invitations DIR
  --state DIR [--webhook URL --webhook-secret-file FILE] [--drain-seconds SECONDS]`;

const config = configured(USAGE, () => {
  const flags = new Flags({
    listen: undefined,
    'health-listen': undefined,
    invitations: undefined,
    state: undefined,
    webhook: undefined,
    'webhook-secret-file': undefined,
    'drain-seconds': '20',
  });
  const sends = flags.has('webhook') || flags.has('webhook-secret-file');
  return {
    listen: flags.address('listen'),
    healthListen: flags.address('health-listen'),
    invitations: new Invitations(flags.folder('invitations')),
    journal: new Journal(flags.folder('state')),
    webhook: sends ? new Webhook(flags.text('webhook'), flags.line('webhook-secret-file')) : undefined,
    drainMs: flags.seconds('drain-seconds') * 1000,
  };
});
const { invitations, journal, webhook } = config;
const parts = partsOf({ clock: systemClock, store: journal, hash: slowHash, invitations, webhook });
const { calls } = parts;
let draining = false;

/** The reason why no code can be checked, in one line; nothing where one can. */
async function problem() {
  if (draining) return 'draining';
  await journal.mend();
  if (journal.problem !== undefined) return journal.problem;
  try {
    await invitations.current();
    return undefined;
  } catch (error) {
    return `the invitations cannot be read (${error.code ?? error.message})`;
  }
}

try {
  parts.ledger.load(await journal.read());
} catch (error) {
  const cure = 'restore the file from a backup; or revoke all invitations, move it away, and issue new ones';
  stop(USAGE, `--state: ${error.code ?? error.message}: ${cure}`);
}
await journal.mend();
if (journal.problem !== undefined) log('journal', { state: 'failed', reason: journal.problem });

const call = (/** @type {keyof typeof METHODS} */ name) => ({
  ...METHODS[name],
  call: (request, context) => calls[name](request, context),
});
const grpc = grpcServer(SERVICE, Object.fromEntries(Object.keys(METHODS).map((name) => [name, call(name)])));
const health = healthServer(
  { '/livez': () => undefined, '/readyz': problem },
  { '/metrics': () => metricsPage(parts), '/invitations': (request) => invitationsPage(parts, request) },
);
await listen(health, config.healthListen, USAGE, { serves: 'health' });
await listen(grpc.server, config.listen, USAGE, { serves: 'gRPC' });

stopAtSignal(config.drainMs, async () => {
  draining = true;
  await grpc.close();
  health.close();
  log('stopped');
  process.exit(0);
});
