/**
 * A list of records on a volume, each of which is on the disk before its promise ends.
 *
 * The file `journal` has one record a line: the CRC-32 of its JSON, and the JSON. Records that come while the disk is
 * busy are written together. A line that a crash cut off at the end of the file was never promised, and is dropped.
 * A file that has grown is replaced by a new one, which is written whole beside it (`journal.new`). So is one whose
 * last write failed: the journal mends itself when the disk does.
 */
import { open, readFile, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';

import { log, reasonOf } from '../lib/log.mjs';

/** @typedef {Record<string, any>} Entry */
/** @typedef {{ line: string, resolve: () => void, reject: (error: Error) => void }} Waiting */

/** The file holds what nobody has written there so. */
class DamagedJournal extends Error {}

/** The record is not on the disk. */
export class NotWritten extends Error {}

const LEAST_BYTES = 1024 * 1024;

const checksum = (/** @type {string} */ text) => crc32(text).toString(16).padStart(8, '0');

/** @param {Entry} record */
function lineOf(record) {
  const json = JSON.stringify(record);
  return `${checksum(json)} ${json}\n`;
}

/**
 * @param {string} text
 * @returns {Entry[]}
 */
function recordsOf(text) {
  const lines = text.split('\n');
  const cut = lines.pop(); // what follows the last newline
  const records = lines.map((line, index) => {
    const json = line.slice(9);
    if (line.slice(0, 9) === `${checksum(json)} `) return JSON.parse(json);
    // The end of a file may be any bytes after a loss of power: the file grew, and its content did not follow.
    if (index === lines.length - 1 || lines.slice(index).every((other) => /^\0*$/.test(other))) return undefined;
    throw new DamagedJournal(`line ${index + 1} of the journal is damaged`);
  });
  if (cut) log('journal', { dropped: cut.length });
  return records.filter((record) => record !== undefined);
}

export class Journal {
  /** @type {import('node:fs/promises').FileHandle | undefined} */
  #file;
  #bytes = 0;
  #most = LEAST_BYTES;
  /** @type {Waiting[]} */
  #waiting = [];
  #busy = false;
  /** The problem of the disk, in one line. @type {string | undefined} */
  problem = 'the state was not written yet';
  /** All that must be kept, as records; each record is part of it before it is appended. @type {() => Entry[]} */
  snapshot = () => [];

  /** @param {string} folder */
  constructor(folder) {
    this.path = join(folder, 'journal');
    this.folder = folder;
  }

  /**
   * The records of the file, none if there is no file. Throws DamagedJournal.
   * @returns {Promise<Entry[]>}
   */
  async read() {
    try {
      return recordsOf(await readFile(this.path, 'utf8'));
    } catch (error) {
      if (error.code === 'ENOENT') return [];
      throw error;
    }
  }

  /**
   * Ends when the record is on the disk; throws NotWritten if it is not.
   * @param {Entry} record
   * @returns {Promise<void>}
   */
  append(record) {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ line: lineOf(record), resolve, reject });
      this.#write();
    });
  }

  /** Tries again where the last write failed, or none was made yet. */
  async mend() {
    if (this.problem !== undefined && !this.#busy) await this.#write(true);
  }

  async #write(once = false) {
    if (this.#busy) return;
    this.#busy = true;
    for (let first = once; first || this.#waiting.length > 0; first = false) {
      /** @type {Waiting[]} */
      const batch = [];
      try {
        if (this.problem !== undefined || this.#bytes > this.#most) await this.#rewrite(batch);
        else await this.#add(batch);
        if (this.problem !== undefined) log('journal', { state: 'written' });
        this.problem = undefined;
        for (const { resolve } of batch) resolve();
      } catch (error) {
        if (this.problem === undefined) log('journal', { state: 'failed', reason: reasonOf(error) });
        this.problem = `the state cannot be written (${reasonOf(error)})`;
        for (const { reject } of [...batch, ...this.#waiting.splice(0)]) reject(new NotWritten(this.problem));
        await new Promise(setImmediate); // those callers take back their counts first
      }
    }
    this.#busy = false;
  }

  /** @param {Waiting[]} batch */
  async #add(batch) {
    batch.push(...this.#waiting.splice(0));
    const text = batch.map(({ line }) => line).join('');
    const { bytesWritten } = await /** @type {any} */ (this.#file).write(text);
    if (bytesWritten !== Buffer.byteLength(text)) throw new Error('the disk is full');
    this.#bytes += bytesWritten;
    await /** @type {any} */ (this.#file).datasync();
  }

  /** @param {Waiting[]} batch */
  async #rewrite(batch) {
    const path = `${this.path}.new`;
    const file = await open(path, 'w', 0o600);
    try {
      batch.push(...this.#waiting.splice(0)); // which the snapshot has
      const text = this.snapshot().map(lineOf).join('');
      await file.writeFile(text);
      await file.sync();
      await rename(path, this.path);
      const folder = await open(this.folder);
      await folder.sync().finally(() => folder.close());
      await this.#file?.close();
      this.#file = file;
      this.#bytes = Buffer.byteLength(text);
      this.#most = Math.max(LEAST_BYTES, 4 * this.#bytes);
    } catch (error) {
      await file.close();
      throw error;
    }
  }
}
