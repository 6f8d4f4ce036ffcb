/**
 * The types and the verdicts of rules. A rule gives undefined (nothing to do: the next rule), {actions: [...]} or
 * {waiting: what for}; with `others`, the rules after it are asked too, and what they want done is done meanwhile.
 * @typedef {{ actions?: Step[], waiting?: string, others?: boolean }} Verdict
 * @typedef {(config: Config, world: World, since: Since) => Verdict | undefined} Rule
 * @typedef {ReturnType<typeof import('./survey.mjs').survey>} World
 * @typedef {(key: string) => number} Since for how many ms, round after round, this key has been asked for
 * @typedef {{ action: string, [more: string]: any }} Step
 * @typedef {import('./nodes.mjs').Config} Config
 */

/**
 * @param {Step[]} actions
 * @returns {Verdict | undefined}
 */
export const act = (actions) => (actions.length ? { actions } : undefined);

/**
 * @param {string} waiting
 * @returns {Verdict}
 */
export const wait = (waiting) => ({ waiting });

/**
 * The item for which the first key is least; of several, the second, and so on.
 * @template T
 * @param {T[]} items
 * @param {((item: T) => number)[]} keys
 * @returns {T}
 */
export const fewest = (items, ...keys) =>
  items.toSorted((a, b) => keys.map((key) => key(a) - key(b)).find((difference) => difference) ?? 0)[0];
