/** An object of the doctor's own in a bucket, written, read back and deleted. */
import { createHash, randomUUID } from 'node:crypto';

import { errorCode, objectPath, sign } from '../lib/aws.mjs';

const PATIENCE_MS = 5000;

/**
 * @param {{ endpoint: URL, region: string, bucket: string, credentials: import('../lib/aws.mjs').KeyPair }} options
 * @returns {Promise<void>} throws an Error that says which operation failed, and how
 */
export async function tryBucket({ endpoint, region, bucket, credentials }) {
  // A key of the form of a page of pre-keys, which no device has.
  const path = objectPath(bucket, `${randomUUID()}/1/${randomUUID()}`);
  const written = randomUUID();

  async function send(/** @type {string} */ method, body = '') {
    const payload = createHash('sha256').update(body).digest('hex');
    const headers = sign({ method, host: endpoint.host, path, payload, region, credentials });
    delete headers.host; // fetch sets it
    const options = { method, headers, signal: AbortSignal.timeout(PATIENCE_MS) };
    const answer = await fetch(new URL(path, endpoint), body ? { ...options, body } : options);
    const text = await answer.text();
    if (!answer.ok) throw new Error([`${method}: status ${answer.status}`, ...errorCode(text)].join(' '));
    return text;
  }

  await send('PUT', written);
  try {
    if ((await send('GET')) !== written) throw new Error('GET: the object is not what was written');
  } finally {
    await send('DELETE');
  }
}
