/**
 * Encryption of an archive for a public key: X25519, HKDF and AES-256-GCM in chunks, of which the last is marked.
 * docs/migration.md has the format. The program that writes an archive has no key that opens it.
 */
import { createCipheriv, createHash, createPublicKey, diffieHellman, generateKeyPairSync, hkdfSync } from 'node:crypto';

const CHUNK_BYTES = 1 << 20;
const NO_SALT = Buffer.alloc(0);
const derived = (key, salt, purpose) => Buffer.from(hkdfSync('sha256', key, salt, purpose, 32));

/**
 * The header of a new archive, and the key of each of its files by name.
 * @param {string} recipient `v1:<base64 salt>:<base64 public key>`
 * @param {(ephemeral: string) => string} header makes it of a new public key in base64
 */
export function keysToWrite(recipient, header) {
  const own = generateKeyPairSync('x25519');
  const x = own.publicKey.export({ format: 'jwk' }).x ?? '';
  const text = header(Buffer.from(x, 'base64url').toString('base64'));
  const raw = Buffer.from(recipient.split(':')[2], 'base64').toString('base64url');
  const publicKey = createPublicKey({ key: { kty: 'OKP', crv: 'X25519', x: raw }, format: 'jwk' });
  const shared = diffieHellman({ privateKey: own.privateKey, publicKey });
  const main = derived(shared, createHash('sha256').update(text).digest(), 'flatline-archive 2');
  return { text, keyOf: (/** @type {string} */ file) => derived(main, NO_SALT, `file ${file}`) };
}

/**
 * A file's content, encrypted.
 * @param {AsyncIterable<Buffer>} content
 * @param {Buffer} key
 * @returns {AsyncGenerator<Buffer>}
 */
export async function* sealed(content, key) {
  let number = 0;
  let waiting = Buffer.alloc(0);
  const seal = (/** @type {Buffer} */ chunk, /** @type {number} */ last) => {
    const nonce = Buffer.alloc(12);
    nonce.writeUInt32BE(number, 7); // of the number's 11 bytes the last four: 4 PiB
    nonce[11] = last;
    number += 1;
    const cipher = createCipheriv('aes-256-gcm', key, nonce);
    return Buffer.concat([cipher.update(chunk), cipher.final(), cipher.getAuthTag()]);
  };
  for await (const part of content) {
    waiting = Buffer.concat([waiting, part]);
    while (waiting.length > CHUNK_BYTES) {
      yield seal(waiting.subarray(0, CHUNK_BYTES), 0);
      waiting = waiting.subarray(CHUNK_BYTES);
    }
  }
  yield seal(waiting, 1);
}
