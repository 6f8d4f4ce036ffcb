/** The log of every program: one JSON line for each event, with its time. */

/**
 * @param {string} event what happened, in one word or two
 * @param {Record<string, unknown>} [fields]
 */
export function log(event, fields = {}) {
  process.stdout.write(`${JSON.stringify({ time: new Date().toISOString(), event, ...fields })}\n`);
}

/**
 * The key of an upload, as far as logs may have it: the whole of it permits a download.
 * @param {string} key
 */
export const hint = (key) => `${key.slice(0, 4)}…`;

/**
 * The reason of a failure for the log: the code of errors of the system, the message of others.
 * @param {any} error
 * @returns {string}
 */
export const reasonOf = ({ code, message }) => (typeof code === 'string' ? code : message);
