/** The log of every program: one JSON line for each event, with its time. */

/**
 * @param {string} event what happened, in one word or two
 * @param {Record<string, unknown>} [fields]
 */
export function log(event, fields = {}) {
  process.stdout.write(`${JSON.stringify({ time: new Date().toISOString(), event, ...fields })}\n`);
}

/**
 * What the log tells of the key of an upload: the whole of it is what permits a download.
 * @param {string} key
 */
export const hint = (key) => `${key.slice(0, 4)}…`;

/**
 * What the log tells of a failure: the code of errors of the system, the message of others.
 * @param {any} error
 * @returns {string}
 */
export const reasonOf = ({ code, message }) => (typeof code === 'string' ? code : message);
