/**
 * The rows of a table of a Bigtable emulator, with every version of every cell: google.bigtable.v2.Bigtable/ReadRows
 * over Node's own HTTP/2. Numbers of fields: google/bigtable/v2/bigtable.proto.
 */
import http2 from 'node:http2';

import { contentsOf, field, fieldsOf, HEADER_BYTES, Malformed } from '../lib/protobuf.mjs';
import { begin, call, familiesOf, getTableRequest } from '../seed/bigtable-admin.mjs';

const SILENT_MS = 60_000;
const PATH = '/google.bigtable.v2.Bigtable/ReadRows';

/** @typedef {{ family: string, qualifier: Buffer, timestamp: number, value: Buffer }} Cell */

/**
 * The column families of a table, sorted. Throws CallError.
 * @param {string} emulator
 * @param {string} table its full name
 */
export async function families(emulator, table) {
  return familiesOf(await call(emulator, 'GetTable', getTableRequest(table))).sort();
}

/** The value in a wrapper (StringValue, BytesValue). */
const inner = (/** @type {Buffer} */ wrapper) => contentsOf(wrapper, 1)[0] ?? Buffer.alloc(0);

/** A cell's time in microseconds. */
function timeOf(/** @type {bigint} */ time) {
  const number = Number(BigInt.asIntN(64, time));
  if (!Number.isSafeInteger(number)) throw new Error('ReadRows: a number that is too large');
  return number;
}

/** The gRPC messages in a stream's bytes. */
async function* messages(/** @type {AsyncIterable<Buffer>} */ stream) {
  let waiting = Buffer.alloc(0);
  for await (const part of stream) {
    waiting = Buffer.concat([waiting, part]);
    while (waiting.length >= HEADER_BYTES && waiting.length >= HEADER_BYTES + waiting.readUInt32BE(1)) {
      if (waiting[0] !== 0) throw new Error('ReadRows: a compressed message');
      const end = HEADER_BYTES + waiting.readUInt32BE(1);
      yield waiting.subarray(HEADER_BYTES, end);
      waiting = waiting.subarray(end);
    }
  }
  if (waiting.length) throw new Error('ReadRows: an answer that ends too early');
}

/**
 * The chunks of an answer, each as its fields by number (bigtable.proto, ReadRowsResponse.CellChunk).
 * @param {AsyncIterable<Buffer>} stream
 * @returns {AsyncGenerator<Record<string, any>>}
 */
async function* chunks(stream) {
  for await (const message of messages(stream)) {
    for (const chunk of contentsOf(message, 1)) {
      yield Object.fromEntries([...fieldsOf(chunk)].map(({ number, content }) => [number, content]));
    }
  }
}

/** The rows that chunks make: families and qualifiers hold on, and a large value comes in several parts. */
async function* assembled(/** @type {AsyncIterable<Buffer>} */ stream) {
  /** @type {{ key: Buffer, cells: Cell[] } | undefined} */
  let row;
  let family = '';
  /** @type {Buffer} */
  let qualifier = Buffer.alloc(0);
  let timestamp = 0;
  /** @type {Buffer[]} */
  let parts = [];
  for await (const { 1: key, 2: named, 3: column, 4: time, 6: value, 7: size, 8: reset, 9: commit } of chunks(stream)) {
    if (reset) {
      row = undefined;
      parts = [];
      continue;
    }
    if (key?.length && !row) row = { key, cells: [] }; // the emulator names the row in each of its chunks
    if (!row) throw new Error('ReadRows: a cell without a row');
    if (named) family = `${inner(named)}`;
    if (column) qualifier = inner(column);
    if (parts.length === 0) timestamp = timeOf(time ?? 0n);
    parts.push(value ?? Buffer.alloc(0));
    if (!size) {
      row.cells.push({ family, qualifier, timestamp, value: Buffer.concat(parts) });
      parts = [];
    }
    if (commit) {
      yield row;
      row = undefined;
    }
  }
  if (row) throw new Error('ReadRows: a row that is not whole');
}

/**
 * Every row of a table, in the form of an archive. Throws an Error that says what failed, without content.
 * @param {string} emulator `host:port`
 * @param {string} table its full name
 */
export async function* rows(emulator, table) {
  const session = http2.connect(`http://${emulator}`);
  let failure = new Error('ReadRows: no answer');
  session.on('error', (error) => {
    failure = error;
  });
  try {
    const { stream, headers } = begin(session, PATH, field(1, table));
    stream.setTimeout(SILENT_MS, () => stream.destroy(new Error('ReadRows: no answer')));
    for await (const { key, cells } of assembled(stream)) {
      cells.sort(order);
      const shown = cells.map((cell) => ({
        family: cell.family,
        qualifier: cell.qualifier.toString('base64'),
        timestamp: cell.timestamp,
        value: cell.value.toString('base64'),
      }));
      yield { Row: { key: key.toString('base64'), cells: shown } };
    }
    if (headers['grpc-status'] === undefined) throw failure;
    if (headers['grpc-status'] !== '0') throw new Error(`ReadRows: gRPC status ${headers['grpc-status']}`);
  } catch (error) {
    throw error instanceof Malformed ? new Error(`ReadRows: ${error.message}`) : error;
  } finally {
    session.destroy();
  }
}

function order(/** @type {Cell} */ one, /** @type {Cell} */ other) {
  return (
    Buffer.compare(Buffer.from(one.family), Buffer.from(other.family)) ||
    Buffer.compare(one.qualifier, other.qualifier) ||
    one.timestamp - other.timestamp ||
    Buffer.compare(one.value, other.value)
  );
}
