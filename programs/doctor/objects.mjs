/** An object of the doctor's own in a bucket, written, read back and deleted. */
import { randomUUID } from 'node:crypto';

import { errorCode, objectPath, send } from '../lib/aws.mjs';

const PATIENCE_MS = 5000;

/**
 * @param {{ endpoint: URL, region: string, bucket: string, credentials: import('../lib/aws.mjs').KeyPair }} options
 * @returns {Promise<void>} throws an Error that says which operation failed, and how
 */
export async function tryBucket({ endpoint, region, bucket, credentials }) {
  // A key of the form of a page of pre-keys, which no device has.
  const path = objectPath(bucket, `${randomUUID()}/1/${randomUUID()}`);
  const written = randomUUID();

  async function call(/** @type {string} */ method, body = '') {
    const what = { endpoint, method, path, body, region, credentials };
    const { answer, text } = await send({ ...what, milliseconds: PATIENCE_MS });
    if (!answer.ok) throw new Error([`${method}: status ${answer.status}`, ...errorCode(text)].join(' '));
    return text;
  }

  await call('PUT', written);
  try {
    if ((await call('GET')) !== written) throw new Error('GET: the object is not what was written');
  } finally {
    await call('DELETE');
  }
}
