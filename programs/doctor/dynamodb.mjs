/** A row of the doctor's own in a DynamoDB table, written, read back and deleted. */
import { createHash, randomUUID } from 'node:crypto';

import { errorCode, sign } from '../lib/aws.mjs';

const PATIENCE_MS = 5000;
/** Where a deletion is lost, time-to-live removes the row. */
const LIFE_SECONDS = 600;

/**
 * @param {{
 *   endpoint: URL, region: string, table: string, hash: string, ttl: string,
 *   credentials: import('../lib/aws.mjs').KeyPair,
 * }} options `hash` is the name of the table's binary key, `ttl` of its time-to-live in seconds
 * @returns {Promise<void>} throws an Error that says which operation failed, and how
 */
export async function tryTable({ endpoint, region, table, hash, ttl, credentials }) {
  const id = Buffer.from(randomUUID().replaceAll('-', ''), 'hex').toString('base64');
  const ends = `${Math.floor(Date.now() / 1000) + LIFE_SECONDS}`;
  const Key = { [hash]: { B: id } };

  async function send(/** @type {string} */ operation, /** @type {object} */ request) {
    const body = JSON.stringify(request);
    const headers = sign({
      method: 'POST',
      host: endpoint.host,
      path: '/',
      headers: { 'Content-Type': 'application/x-amz-json-1.0', 'X-Amz-Target': `DynamoDB_20120810.${operation}` },
      payload: createHash('sha256').update(body).digest('hex'),
      service: 'dynamodb',
      region,
      credentials,
    });
    delete headers.host; // fetch sets it
    const answer = await fetch(endpoint, { method: 'POST', headers, body, signal: AbortSignal.timeout(PATIENCE_MS) });
    const text = await answer.text();
    if (!answer.ok) {
      const code = /"__type":\s*"(?:[^"#]*#)?([A-Za-z]{1,80})"/.exec(text)?.[1] ?? errorCode(text)[0] ?? '';
      throw new Error(`${operation}: status ${answer.status} ${code}`.trim());
    }
    return JSON.parse(text || '{}');
  }

  await send('PutItem', { TableName: table, Item: { ...Key, [ttl]: { N: ends } } });
  try {
    const { Item } = await send('GetItem', { TableName: table, Key, ConsistentRead: true });
    if (Item?.[ttl]?.N !== ends) throw new Error('GetItem: the row is not what was written');
  } finally {
    await send('DeleteItem', { TableName: table, Key });
  }
}
