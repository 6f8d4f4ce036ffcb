/** Pages for the operator: the metrics, without numbers, and the invitations, with them. */
import { UNINVITED } from './ledger.mjs';

/** @typedef {ReturnType<typeof import('./parts.mjs').partsOf>} Parts */

const STATES = ['waiting', 'attacked', 'locked', 'used', 'expired'];
const LOOPBACK = new Set(['127.0.0.1', '::1', '::ffff:127.0.0.1']);

/**
 * The state of each invitation, for the operator. Times are in seconds since 1970.
 * @param {Parts} parts
 */
async function states({ invitations, verifier }) {
  return [...(await invitations.current())].map(([number, invitation]) => {
    const { expires, again, codes } = invitation;
    return { number: `+${number}`, ...verifier.stateOf(invitation), expires, again, codes };
  });
}

/**
 * The invitations as JSON. Only for who asks from the pod itself, as a port-forward of the API server does: it has
 * numbers, and nothing else that reaches the port may see them.
 * @param {Parts} parts
 * @param {import('node:http').IncomingMessage} request
 */
export async function invitationsPage(parts, { socket }) {
  if (!LOOPBACK.has(`${socket.remoteAddress}`)) return undefined;
  return `${JSON.stringify({ version: 1, invitations: await states(parts) })}\n`;
}

/** @param {Parts} parts */
export async function metricsPage(parts) {
  const { calls, sessions, queue, ledger, invitations } = parts;
  /** @type {Map<string, number>} */
  const counts = new Map(STATES.map((state) => [state, 0]));
  let wrong = ledger.attempts(UNINVITED).count;
  for (const invitation of await states(parts)) {
    counts.set(invitation.state, (counts.get(invitation.state) ?? 0) + 1);
    wrong += invitation.wrong;
  }
  return [
    '# TYPE registration_calls_total counter',
    ...[...calls.counts].map(([label, count]) => `registration_calls_total{${label}} ${count}`),
    '# TYPE registration_invitations gauge',
    ...[...counts].map(([state, count]) => `registration_invitations{state="${state}"} ${count}`),
    '# TYPE registration_invitations_malformed gauge',
    `registration_invitations_malformed ${invitations.malformed}`,
    '# HELP registration_wrong_codes Wrong codes for all invitations that there are, and for numbers without one.',
    '# TYPE registration_wrong_codes gauge',
    `registration_wrong_codes ${wrong}`,
    '# TYPE registration_sessions gauge',
    `registration_sessions ${sessions.size}`,
    '# TYPE registration_checks_waiting gauge',
    `registration_checks_waiting ${queue.waiting}\n`,
  ].join('\n');
}
