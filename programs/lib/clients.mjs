/**
 * Keeps one client from using up what all clients share: who a client is, how many requests it may have under way, and
 * how fast it must go on. For the programs behind Traefik.
 */
import { isIP, isIPv6 } from 'node:net';

/**
 * An IPv6 client is its /64 network: a home has one, and may use every address of it.
 * @param {string} address
 */
function networkOf(address) {
  const plain = address.replace(/%.*$/, '').replace(/^::ffff:(?=[0-9.]+$)/i, '');
  if (!isIPv6(plain)) return plain;
  const [left, right] = new URL(`http://[${plain}]/`).hostname.slice(1, -1).split('::');
  const [before, after] = [left, right].map((groups) => (groups ? groups.split(':') : []));
  const groups = [...before, ...Array(8 - before.length - after.length).fill('0'), ...after];
  return `${groups.slice(0, 4).join(':')}::/64`;
}

/**
 * The client that a request comes from.
 *
 * Traefik writes the address that the connection came from as the last one of X-Forwarded-For, whatever a client sent.
 * So this is to be believed only where nothing but Traefik, and pods of our own, reaches the port. Pods of our own send
 * no such header, and are their own address.
 * @param {{ headers: import('node:http').IncomingHttpHeaders, socket: { remoteAddress?: string } }} request
 */
export function clientOf({ headers, socket }) {
  const forwarded = `${headers['x-forwarded-for'] ?? ''}`.split(',').at(-1)?.trim() ?? '';
  return networkOf(isIP(forwarded) ? forwarded : (socket.remoteAddress ?? ''));
}

/** Counts what is under way: at most `total`, and at most `perClient` of one client, so that no client takes it all. */
export class Concurrency {
  /** @type {Map<string, number>} */
  #counts = new Map();
  active = 0;

  /** @param {{ total: number, perClient: number }} most */
  constructor({ total, perClient }) {
    this.total = total;
    this.perClient = perClient;
  }

  /**
   * Counts one more, and returns what ends it (once, however often it is called); nothing when there are too many.
   * @param {string} client
   */
  enter(client) {
    const count = this.#counts.get(client) ?? 0;
    if (count >= this.perClient || this.active >= this.total) return undefined;
    this.#add(client, 1);
    let entered = true;
    return () => {
      if (entered) this.#add(client, -1);
      entered = false;
    };
  }

  /**
   * @param {string} client
   * @param {number} change
   */
  #add(client, change) {
    const count = (this.#counts.get(client) ?? 0) + change;
    if (count > 0) this.#counts.set(client, count);
    else this.#counts.delete(client);
    this.active += change;
  }
}

/**
 * The least that a client must do: `rate` bytes a second, from the beginning on.
 *
 * It begins with `grace` milliseconds in hand. Each byte adds what it may take, up to `most` in hand, so that neither a
 * fast beginning nor a byte now and then lets it stay. A client that is never slower than the rate is never late,
 * also when its bytes are seen in steps: `most` must be what the largest step may take.
 */
export class Progress {
  /**
   * @param {{ rate: number, grace: number, most: number }} floor
   * @param {number} now
   */
  constructor({ rate, grace, most }, now) {
    this.rate = rate;
    this.most = most;
    this.due = now + grace;
  }

  /**
   * @param {number} bytes
   * @param {number} now
   */
  moved(bytes, now) {
    this.due = Math.min(this.due + (bytes * 1000) / this.rate, now + this.most);
  }

  /**
   * For the time in which it is not the client that is waited for.
   * @param {number} milliseconds
   */
  pause(milliseconds) {
    this.due += milliseconds;
  }

  /** @param {number} now */
  late(now) {
    return now > this.due;
  }
}
