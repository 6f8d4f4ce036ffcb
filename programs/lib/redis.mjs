/** A client of Redis over RESP2: https://redis.io/docs/latest/develop/reference/protocol-spec/ */
import { connect } from 'node:net';

/** A server that does not answer, or answers with an error. */
export class RedisError extends Error {}

/** @typedef {any} Reply bulk strings are Buffers, an error is a RedisError */

/**
 * The reply that starts at `at`, and the offset after it; undefined while it is incomplete.
 * @param {Buffer} buffer
 * @returns {[Reply, number] | undefined}
 */
export function parseReply(buffer, at = 0) {
  const end = buffer.indexOf('\r\n', at);
  if (end < 0) return undefined;
  const head = buffer.toString('latin1', at + 1, end);
  const next = end + 2;
  switch (String.fromCharCode(buffer[at])) {
    case '+':
      return [head, next];
    case '-':
      return [new RedisError(head), next];
    case ':':
      return [Number(head), next];
    case '$':
      return parseBulk(buffer, next, Number(head));
    case '*':
      return parseArray(buffer, next, Number(head));
    default:
      throw new RedisError('not an answer of Redis');
  }
}

/**
 * @param {Buffer} buffer
 * @param {number} at
 * @param {number} length
 * @returns {[Reply, number] | undefined}
 */
function parseBulk(buffer, at, length) {
  if (length < 0) return [null, at];
  const end = at + length;
  return buffer.length < end + 2 ? undefined : [buffer.subarray(at, end), end + 2];
}

/**
 * @param {Buffer} buffer
 * @param {number} at
 * @param {number} length
 * @returns {[Reply, number] | undefined}
 */
function parseArray(buffer, at, length) {
  const items = [];
  let next = at;
  for (let i = 0; i < length; i += 1) {
    const item = parseReply(buffer, next);
    if (!item) return undefined;
    items.push(item[0]);
    next = item[1];
  }
  return [items, next];
}

/** @param {(string | number | Buffer)[]} words */
export function encodeCommand(words) {
  /** @type {Buffer[]} */
  const parts = [Buffer.from(`*${words.length}\r\n`)];
  for (const word of words) {
    const bytes = Buffer.isBuffer(word) ? word : Buffer.from(String(word));
    parts.push(Buffer.from(`$${bytes.length}\r\n`), bytes, Buffer.from('\r\n'));
  }
  return Buffer.concat(parts);
}

/** A connection, whose commands are answered in order. Every failure is a RedisError, and ends it. */
export class Connection {
  #socket;
  #milliseconds;
  #mostBytes;
  #message;
  /** @type {{ resolve: (reply: Reply) => void, reject: (error: Error) => void }[]} */
  #pending = [];
  /** @type {Buffer} */
  #buffer = Buffer.alloc(0);

  /**
   * @param {string} host
   * @param {number} port
   * @param {{ milliseconds: number, mostBytes?: number, message?: (message: Reply) => void }} limits for the answer
   *   to one command, and of it; `message` takes what a subscription brings
   */
  constructor(host, port, { milliseconds, mostBytes = Number.POSITIVE_INFINITY, message }) {
    this.#milliseconds = milliseconds;
    this.#message = message;
    this.#mostBytes = mostBytes;
    this.#socket = connect({ host, port });
    this.#socket.on('data', (data) => this.#receive(data));
    this.#socket.on('error', (/** @type {NodeJS.ErrnoException} */ error) => this.#fail(error.code ?? error.message));
    this.#socket.on('close', () => this.#fail('connection closed'));
  }

  /** @param {Buffer} data */
  #receive(data) {
    this.#buffer = Buffer.concat([this.#buffer, data]);
    try {
      for (let reply = parseReply(this.#buffer); reply; reply = parseReply(this.#buffer)) {
        this.#buffer = this.#buffer.subarray(reply[1]);
        const asked = this.#pending.shift();
        if (!asked && this.#message) {
          this.#message(reply[0]);
          continue;
        }
        if (!asked) throw new RedisError('an answer that nobody asked for');
        if (reply[0] instanceof RedisError) asked.reject(reply[0]);
        else asked.resolve(reply[0]);
      }
      if (this.#buffer.length > this.#mostBytes) throw new RedisError('not an answer of Redis');
    } catch (error) {
      this.#fail(/** @type {Error} */ (error).message);
    }
  }

  /** @param {string} reason */
  #fail(reason) {
    this.#socket.destroy();
    for (const { reject } of this.#pending.splice(0)) reject(new RedisError(reason));
  }

  /**
   * The reply to one command. Commands may overlap.
   * @param {(string | number | Buffer)[]} words
   * @returns {Promise<Reply>}
   */
  send(...words) {
    return new Promise((resolve, reject) => {
      if (this.#socket.destroyed) {
        reject(new RedisError('connection closed'));
        return;
      }
      const timer = setTimeout(() => this.#fail('no answer'), this.#milliseconds);
      const done = (/** @type {(value: any) => void} */ settle) => (/** @type {any} */ value) => {
        clearTimeout(timer);
        settle(value);
      };
      this.#pending.push({ resolve: done(resolve), reject: done(reject) });
      this.#socket.write(encodeCommand(words));
    });
  }

  /** @param {(string | number | Buffer)[]} words */
  async text(...words) {
    return String(await this.send(...words));
  }

  close() {
    this.#fail('closed');
  }
}
