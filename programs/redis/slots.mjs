/** Slots, as numbers and as ranges. */

/** How many a Redis Cluster has. */
export const SLOTS = 16384;

/** @typedef {[number, number]} Range the first slot, and the last */

/** @type {(count: number) => number[]} */
export const range = (n) => Array.from({ length: n }, (_, i) => i);
/** @type {(ranges: Range[]) => number} */
export const sizeOf = (ranges) => ranges.reduce((sum, [from, to]) => sum + to - from + 1, 0);
/** @type {(ranges: Range[]) => number[]} */
export const slotsOf = (ranges) => ranges.flatMap(([from, to]) => range(to - from + 1).map((i) => from + i));

/**
 * The ranges of slots in ascending order.
 * @param {number[]} slots
 */
export function rangesOf(slots) {
  /** @type {Range[]} */
  const ranges = [];
  for (const slot of slots) {
    const last = ranges.at(-1);
    if (last?.[1] === slot - 1) last[1] = slot;
    else ranges.push([slot, slot]);
  }
  return ranges;
}
