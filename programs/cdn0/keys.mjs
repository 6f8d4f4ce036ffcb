/** The keys that a request may name. */

/**
 * Whatever the patterns of the configuration say: characters that mean the same in every encoding of a path, and
 * no empty, `.` or `..` segment.
 */
const SEGMENT = /^(?!\.{1,2}$)[A-Za-z0-9._=-]+$/;
export const isSafe = (key) => key.length <= 1024 && key.split('/').every((segment) => SEGMENT.test(segment));

/** The key that a request's target names, if it lies in the bucket and is safe; nothing otherwise. */
export function keyOf(config, target) {
  const key = target.startsWith(`/${config.bucket}/`) && target.slice(config.bucket.length + 2);
  return key && isSafe(key) ? key : undefined;
}
