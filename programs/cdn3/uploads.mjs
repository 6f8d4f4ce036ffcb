/**
 * Uploads as tusd keeps them (2.9.1).
 *
 * Its file store keeps an upload in two files: `<key>`, the data so far, and `<key>.info`, JSON with `Size` and
 * `SizeIsDeferred`. Its S3 store makes `<prefix><key>.info` when an upload is created, and `<prefix><key>`, all of it
 * at once, when it is complete; there the upload's own id is `<key>+<id of the multipart upload>`.
 */
import { constants } from 'node:fs';
import { lstat, open } from 'node:fs/promises';
import { join } from 'node:path';

import { must } from '../lib/flags.mjs';
import { S3_FLAGS } from '../lib/s3.mjs';

/** Whisper's keys: 15 random bytes in base64url. */
export const KEY = '[A-Za-z0-9_-]{20}';
export const IS_KEY = new RegExp(`^${KEY}$`);
/** A file is opened only at the name itself: a link is not followed, and a pipe is not waited for. */
export const OPEN_FLAGS = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
/** tusd's own infos are about 300 bytes long. */
const INFO_LIMIT = 16 * 1024;

/**
 * The state of the file of this name (a link is not followed), or undefined.
 * @param {string} path
 */
export async function look(path) {
  try {
    return await lstat(path);
  } catch (error) {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  }
}

/**
 * The declared size of an upload in bytes, or undefined when its info gives none (deferred, or not what tusd writes).
 * @param {string} directory
 * @param {string} key
 * @returns {Promise<number | undefined>}
 */
export async function declaredSize(directory, key) {
  await using file = await open(join(directory, `${key}.info`), OPEN_FLAGS);
  if (!(await file.stat()).isFile()) return undefined;
  const { bytesRead, buffer } = await file.read(Buffer.alloc(INFO_LIMIT), 0, INFO_LIMIT, 0);
  try {
    const info = JSON.parse(buffer.toString('utf8', 0, bytesRead));
    return info?.SizeIsDeferred === false && Number.isInteger(info.Size) ? info.Size : undefined;
  } catch {
    return undefined;
  }
}

/** For Flags: where the uploads are. */
export const STORE_FLAGS = { 'upload-dir': undefined, ...S3_FLAGS };

/**
 * True if the flags name a bucket instead of a folder.
 * @param {import('../lib/flags.mjs').Flags} flags
 */
export function inS3(flags) {
  const s3 = Object.keys(S3_FLAGS).some((name) => flags.has(name));
  must(!(s3 && flags.has('upload-dir')), '--upload-dir and --s3-bucket exclude each other');
  return s3;
}

/**
 * The path below which uploads are served.
 * @param {import('../lib/flags.mjs').Flags} flags
 */
export const basePath = (flags) =>
  flags.text('base-path', /^\/([A-Za-z0-9_-]+\/)*$/, 'must begin and end with a slash');
