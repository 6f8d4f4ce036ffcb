/** How the answers to downloads are sent, counted, and ended when nobody takes them. */
import { Progress } from '../lib/clients.mjs';
import { EMPTY } from './conditions.mjs';

/** The client has gone. */
export class Gone extends Error {}

/** Answers by status, bytes of content, clients that left early, that were too slow, connections over their number. */
export const totals = { answers: /** @type {Record<number, number>} */ ({}), bytes: 0, gone: 0, slow: 0, dropped: 0 };

/** @typedef {import('node:http').ServerResponse<import('node:http').IncomingMessage>} Response */

/**
 * @param {Response} response
 * @param {number} status
 * @param {import('./conditions.mjs').Fields} fields
 */
export function begin(response, status, fields) {
  totals.answers[status] = (totals.answers[status] ?? 0) + 1;
  response.writeHead(status, { 'X-Content-Type-Options': 'nosniff', ...fields });
}

/**
 * @param {Response} response
 * @param {number} status
 * @param {import('./conditions.mjs').Fields} [fields]
 */
export function refuse(response, status, fields = {}) {
  begin(response, status, { ...EMPTY, ...fields });
  response.end();
}

/** @typedef {{ socket: import('node:net').Socket, progress: Progress, writing: boolean }} Reader */

/** Downloads under way. */
export class Readers {
  /** @type {Set<Reader>} */
  #readers = new Set();
  #floor;

  /** @param {{ rate: number, grace: number, most: number }} floor */
  constructor(floor) {
    this.#floor = floor;
  }

  dropSlow() {
    for (const { socket, progress, writing } of this.#readers) {
      if (!writing || !progress.late(Date.now())) continue;
      totals.slow += 1;
      socket.destroy();
    }
  }

  /**
   * Sends piece after piece, each once the kernel took the one before. Throws Gone.
   * @param {AsyncIterable<Buffer>} pieces
   * @param {Response} response
   */
  async send(pieces, response) {
    const { socket } = response.req;
    const reader = { socket, progress: new Progress(this.#floor, Date.now()), writing: false };
    this.#readers.add(reader);
    let idleSince = Date.now();
    /** @type {((reason: Error) => void) | undefined} */
    let fail;
    const leave = () => fail?.(new Gone());
    socket.once('close', leave);
    try {
      for await (const piece of pieces) {
        if (socket.destroyed) throw new Gone();
        reader.progress.pause(Date.now() - idleSince);
        reader.writing = true;
        await new Promise((resolve, reject) => {
          fail = reject;
          response.write(piece, (error) => (error ? reject(new Gone()) : resolve(undefined)));
        });
        reader.writing = false;
        idleSince = Date.now();
        reader.progress.moved(piece.length, idleSince);
        totals.bytes += piece.length;
      }
    } finally {
      this.#readers.delete(reader);
      socket.off('close', leave);
    }
  }
}
