/**
 * The time, as the parts of registration take it: tests hand them another one.
 * @typedef {{ now: () => number, after: (ms: number, call: () => void) => () => void }} Clock milliseconds since 1970;
 *   `after` returns what cancels the call
 */

/** @type {Clock} */
export const systemClock = {
  now: () => Date.now(),
  after(ms, call) {
    const timer = setTimeout(call, ms);
    return () => clearTimeout(timer);
  },
};
