/**
 * The configuration of a program: flags for values, and files, which flags name, for secrets.
 *
 * A program whose flags cannot be right says so in one line, shows its usage, and ends with status 2. Its usage begins
 * with its own name.
 */
import { readFileSync, statSync } from 'node:fs';
import { isIP } from 'node:net';
import { parseArgs } from 'node:util';

/** A flag that cannot be right. The message names the flag, and never holds the content of a file. */
export class FlagError extends Error {}

/**
 * Ends the program, because it cannot do what it was started for.
 * @param {string} usage
 * @param {string} problem
 * @returns {never}
 */
export function stop(usage, problem) {
  const [name] = usage.split(/\s/, 1);
  console.error(`${name}: ${problem}\nusage: ${usage}`);
  process.exit(2);
}

/**
 * The result of `read`, which reads flags. Ends the program for a FlagError.
 * @template T
 * @param {string} usage
 * @param {() => T} read
 * @returns {T}
 */
export function configured(usage, read) {
  try {
    return read();
  } catch (error) {
    if (error instanceof FlagError) stop(usage, error.message);
    throw error;
  }
}

/**
 * Throws a FlagError unless it is right.
 * @param {unknown} right
 * @param {string} problem
 * @returns {asserts right}
 */
export function must(right, problem) {
  if (!right) throw new FlagError(problem);
}

/** The flags of one start, by their names without dashes. */
export class Flags {
  #values;

  /**
   * `known` maps each flag to its default: undefined where there is none, a list for a flag that may be repeated.
   * @param {Record<string, string | string[] | undefined>} known
   * @param {{ positionals?: boolean }} [options] whether arguments that are no flags are allowed
   */
  constructor(known, { positionals = false } = {}) {
    const kinds = Object.entries(known).map(([name, value]) => {
      const kind = { type: /** @type {const} */ ('string'), multiple: Array.isArray(value), default: value };
      return [name, kind];
    });
    try {
      const parsed = parseArgs({ options: Object.fromEntries(kinds), allowPositionals: positionals });
      /** @type {Record<string, any>} */
      this.#values = parsed.values;
      this.positionals = parsed.positionals;
    } catch (error) {
      throw new FlagError(/** @type {Error} */ (error).message);
    }
  }

  /**
   * @param {string} name
   * @returns {boolean}
   */
  has(name) {
    return this.#values[name] !== undefined;
  }

  /**
   * The text of a flag that must be there.
   * @param {string} name
   * @param {RegExp} [pattern]
   * @param {string} [rule] what is said where it does not match
   * @returns {string}
   */
  text(name, pattern = /./, rule = 'is missing') {
    const value = this.#values[name] ?? '';
    must(pattern.test(value), `--${name} ${rule}`);
    return value;
  }

  /**
   * The texts of a flag that may be repeated.
   * @param {string} name
   * @returns {string[]}
   */
  list(name) {
    return this.#values[name];
  }

  /**
   * A whole number. A flag with a default may be left out.
   * @param {string} name
   * @param {{ min?: number, max?: number, unit?: string }} [limits]
   */
  number(name, { min = 1, max = 999_999, unit = '' } = {}) {
    const text = this.#values[name] ?? '';
    const value = /^(0|[1-9][0-9]{0,14})$/.test(text) ? Number(text) : Number.NaN;
    must(value >= min && value <= max, `--${name} must be a whole number${unit && ` of ${unit}`}, ${min} to ${max}`);
    return value;
  }

  /**
   * @param {string} name
   * @param {{ min?: number, max?: number }} [limits]
   */
  seconds(name, { min = 1, max = 999_999_999 } = {}) {
    return this.number(name, { min, max, unit: 'seconds' });
  }

  /**
   * An address to listen on. Without a host it is every address of the pod, of IPv6 and of IPv4.
   * @param {string} name
   */
  address(name) {
    const text = this.#values[name] ?? '';
    const [whole, bracketed, plain, port] = /^(?:\[([^\]]+)\]|([^:]+)|):([0-9]{1,5})$/.exec(text) ?? [];
    const host = bracketed ?? plain;
    const right = whole && (!host || isIP(host)) && Number(port) <= 65535;
    must(right, `--${name} must be an IP address and a port, or :PORT`);
    return { host, port: Number(port) };
  }

  /**
   * The path of a folder that is there.
   * @param {string} name
   */
  folder(name) {
    const path = this.#values[name] ?? '';
    must(statSync(path, { throwIfNoEntry: false })?.isDirectory(), `--${name} is not a directory`);
    return path;
  }

  /**
   * The content of a file, without the end of its last line.
   * @param {string} name
   */
  file(name) {
    try {
      return readFileSync(this.text(name), 'utf8').trimEnd();
    } catch (error) {
      if (error instanceof FlagError) throw error;
      throw new FlagError(`--${name} cannot be read (${/** @type {NodeJS.ErrnoException} */ (error).code})`);
    }
  }

  /**
   * The one line of a file.
   * @param {string} name
   */
  line(name) {
    const text = this.file(name);
    must(text && !text.includes('\n'), `--${name} must hold one line`);
    return text;
  }
}
