/**
 * A row of the doctor's own in a table of a Bigtable emulator, written, read back and deleted.
 *
 * google.bigtable.v2.Bigtable has a unary call for all of it: CheckAndMutateRow looks whether the row is there and
 * deletes it if it is. Numbers of fields: google/bigtable/v2/bigtable.proto and data.proto.
 */
import { randomBytes } from 'node:crypto';

import { field } from '../lib/protobuf.mjs';
import { call } from '../seed/bigtable-admin.mjs';

const SERVICE = 'google.bigtable.v2.Bigtable';
/** CheckAndMutateRowResponse with `predicate_matched: true`. */
const MATCHED = Buffer.from([0x08, 0x01]);

/**
 * @param {{ emulator: string, table: string, family: string }} options `table` is its full name
 * @returns {Promise<void>} throws CallError, or an Error where the row is not there
 */
export async function tryRow({ emulator, table, family }) {
  const key = randomBytes(16);
  const setCell = field(1, field(1, family), field(2, 'doctor'), field(4, 'x'));
  await call(emulator, 'MutateRow', Buffer.concat([field(1, table), field(2, key), field(3, setCell)]), SERVICE);
  const deleteRow = field(4);
  const request = Buffer.concat([field(1, table), field(2, key), field(4, deleteRow)]);
  const answer = await call(emulator, 'CheckAndMutateRow', request, SERVICE);
  if (!answer.equals(MATCHED)) throw new Error('CheckAndMutateRow: the row that was written is not there');
}
