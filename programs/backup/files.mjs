/**
 * The files of a volume in pieces, a JSON line each: `{"path", "modified", "size", "offset", "data"}`. `./flatline
 * backup` and `restore` run it in a pod that has the volume, through the API server.
 *
 * - `read FOLDER` prints every piece, `count FOLDER` how many there are.
 * - `look FOLDER` prints the pieces of the files and offsets that it reads as lines, where they are there.
 * - `write FOLDER` writes the pieces that it reads, and prints how many.
 *
 * Empty files, and files that a program holds while it works (`.lock`, `.new`), are passed over. Symbolic links are not
 * followed.
 */
import { mkdir, open, opendir } from 'node:fs/promises';
import { dirname, join, normalize } from 'node:path';
import { createInterface } from 'node:readline';

const PIECE_BYTES = 256 * 1024;
const PASSED_OVER = ['.lock', '.new'];

/** @typedef {{ path: string, modified: number, size: number, offset: number, data: string }} Piece */

/**
 * The paths of all files below a folder.
 * @param {string} root
 * @param {string} [below]
 * @returns {AsyncGenerator<string>}
 */
async function* files(root, below = '') {
  for await (const entry of await opendir(join(root, below))) {
    const path = join(below, entry.name);
    if (entry.isDirectory()) yield* files(root, path);
    else if (entry.isFile() && !PASSED_OVER.some((end) => path.endsWith(end))) yield path;
  }
}

/**
 * The result of `use` for an open file; undefined where the file has gone.
 * @template T
 * @param {string} path
 * @param {(file: import('node:fs/promises').FileHandle) => Promise<T>} use
 */
async function opened(path, use) {
  let file;
  try {
    file = await open(path, 'r');
  } catch (error) {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  }
  return use(file).finally(() => file.close());
}

/**
 * @param {import('node:fs/promises').FileHandle} file
 * @param {string} path
 * @param {number} offset
 * @returns {Promise<Piece>}
 */
async function piece(file, path, offset) {
  const { size, mtimeMs } = await file.stat();
  const buffer = Buffer.alloc(Math.max(0, Math.min(PIECE_BYTES, size - offset)));
  const { bytesRead } = await file.read(buffer, 0, buffer.length, offset);
  const data = buffer.subarray(0, bytesRead).toString('base64');
  return { path, modified: Math.floor(mtimeMs / 1000), size, offset, data };
}

async function print(/** @type {unknown} */ value) {
  if (!process.stdout.write(`${JSON.stringify(value)}\n`)) {
    await new Promise((resolve) => process.stdout.once('drain', resolve));
  }
}

async function* lines() {
  for await (const line of createInterface({ input: process.stdin })) yield JSON.parse(line);
}

function inside(/** @type {string} */ root, /** @type {string} */ path) {
  const found = normalize(path);
  if (found !== path || path.startsWith('/') || path.split('/').includes('..')) throw new Error('a path leads outside');
  return join(root, path);
}

async function read(/** @type {string} */ root) {
  for await (const path of files(root)) {
    await opened(join(root, path), async (file) => {
      const { size } = await file.stat();
      for (let offset = 0; offset < size; offset += PIECE_BYTES) await print(await piece(file, path, offset));
    });
  }
}

async function count(/** @type {string} */ root) {
  let pieces = 0;
  for await (const path of files(root)) {
    pieces += (await opened(join(root, path), async (file) => Math.ceil((await file.stat()).size / PIECE_BYTES))) ?? 0;
  }
  await print(pieces);
}

async function look(/** @type {string} */ root) {
  for await (const { path, offset } of lines()) {
    await opened(inside(root, path), async (file) => {
      const found = await piece(file, path, offset);
      if (found.data !== '') await print(found);
    });
  }
}

async function write(/** @type {string} */ root) {
  let written = 0;
  for await (const { path, modified, offset, data } of lines()) {
    const place = inside(root, path);
    await mkdir(dirname(place), { recursive: true });
    const file = await open(place, offset === 0 ? 'a' : 'r+', 0o664).then(async (made) => {
      if (offset !== 0) return made;
      await made.close(); // it is there now, whoever has made it
      return open(place, 'r+');
    });
    try {
      await file.write(Buffer.from(data, 'base64'), 0, undefined, offset);
      await file.utimes(modified, modified);
      await file.sync();
    } finally {
      await file.close();
    }
    written += 1;
  }
  await print(written);
}

/** @type {Record<string, (root: string) => Promise<void>>} */
const actions = { read, count, look, write };
const [action, root] = process.argv.slice(-2);
await actions[action](root);
