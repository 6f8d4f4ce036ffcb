/** A row of the doctor's own in a DynamoDB table, written, read back and deleted. */
import { randomUUID } from 'node:crypto';

import { errorCode, send } from '../lib/aws.mjs';

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

  async function call(/** @type {string} */ operation, /** @type {object} */ request) {
    const headers = { 'Content-Type': 'application/x-amz-json-1.0', 'X-Amz-Target': `DynamoDB_20120810.${operation}` };
    const what = { endpoint, method: 'POST', path: '/', headers, body: JSON.stringify(request), service: 'dynamodb' };
    const { answer, text } = await send({ ...what, region, credentials, milliseconds: PATIENCE_MS });
    if (!answer.ok) throw new Error([`${operation}: status ${answer.status}`, ...errorCode(text)].join(' '));
    return JSON.parse(text || '{}');
  }

  await call('PutItem', { TableName: table, Item: { ...Key, [ttl]: { N: ends } } });
  try {
    const { Item } = await call('GetItem', { TableName: table, Key, ConsistentRead: true });
    if (Item?.[ttl]?.N !== ends) throw new Error('GetItem: the row is not what was written');
  } finally {
    await call('DeleteItem', { TableName: table, Key });
  }
}
