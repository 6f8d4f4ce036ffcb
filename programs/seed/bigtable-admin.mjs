/**
 * google.bigtable.admin.v2.BigtableTableAdmin: its few messages, in Protocol Buffers' wire format, and gRPC without TLS
 * over Node's own HTTP/2.
 */
import http2 from 'node:http2';

const CALL_MS = 10_000;
const MAX_ANSWER_BYTES = 1024 * 1024;
const SERVICE = 'google.bigtable.admin.v2.BigtableTableAdmin';
/** gRPC's status codes, by their numbers from 0. */
const STATUS = [
  'OK',
  'CANCELLED',
  'UNKNOWN',
  'INVALID_ARGUMENT',
  'DEADLINE_EXCEEDED',
  'NOT_FOUND',
  'ALREADY_EXISTS',
  'PERMISSION_DENIED',
  'RESOURCE_EXHAUSTED',
  'FAILED_PRECONDITION',
  'ABORTED',
  'OUT_OF_RANGE',
  'UNIMPLEMENTED',
  'INTERNAL',
  'UNAVAILABLE',
  'DATA_LOSS',
  'UNAUTHENTICATED',
];
const PASSING = ['UNAVAILABLE', 'DEADLINE_EXCEEDED', 'ABORTED'];

/** The emulator's refusal (then with its `status`), or what kept a call from being answered (then `passing`). */
export class CallError extends Error {
  constructor(message, { status = '', passing = false } = {}) {
    super(message);
    this.status = status;
    this.passing = passing;
  }
}

// --- Protocol Buffers' wire format -----------------------------------------------------------------------------

function varint(value) {
  const bytes = [];
  let left = value;
  for (; left > 0x7f; left = Math.floor(left / 0x80)) bytes.push((left % 0x80) | 0x80);
  return Buffer.from([...bytes, left]);
}

/** A length-delimited field: a text, or a message given as its fields. */
export function field(number, ...content) {
  const body = Buffer.concat(content.map((part) => Buffer.from(part)));
  return Buffer.concat([varint(number * 8 + 2), varint(body.length), body]);
}

function enumField(number, value) {
  return Buffer.concat([varint(number * 8), varint(value)]);
}

/** The length-delimited fields of a message, as [number, content]; the others are passed over. */
function* fieldsOf(message) {
  let at = 0;
  const nextVarint = () => {
    let value = 0;
    for (let scale = 1; at < message.length; scale *= 0x80) {
      const byte = message[at];
      at += 1;
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
    }
    throw new CallError('an answer that ends too early');
  };
  while (at < message.length) {
    const tag = nextVarint();
    const kind = tag % 8;
    if (kind === 0) nextVarint();
    else if (kind === 1) at += 8;
    else if (kind === 5) at += 4;
    else if (kind === 2) {
      const length = nextVarint();
      if (at + length > message.length) throw new CallError('an answer that ends too early');
      yield [Math.floor(tag / 8), message.subarray(at, at + length)];
      at += length;
    } else throw new CallError('an answer that is not Protocol Buffers');
  }
}

// Numbers of fields: google/bigtable/admin/v2/bigtable_table_admin.proto and table.proto.
const COLUMN_FAMILY = '';
const SCHEMA_VIEW = 2;

export function createTableRequest(parent, id, families) {
  const table = families.map((family) => field(3, field(1, family), field(2, COLUMN_FAMILY)));
  return Buffer.concat([field(1, parent), field(2, id), field(3, ...table)]);
}

export function getTableRequest(name) {
  return Buffer.concat([field(1, name), enumField(2, SCHEMA_VIEW)]);
}

export function addFamilyRequest(name, family) {
  return Buffer.concat([field(1, name), field(2, field(1, family), field(2, COLUMN_FAMILY))]);
}

export function familiesOf(table) {
  const entries = [...fieldsOf(table)].filter(([number]) => number === 3);
  return entries.flatMap(([, entry]) => [...fieldsOf(entry)].filter(([part]) => part === 1).map(([, key]) => `${key}`));
}

// --- gRPC over HTTP/2 ------------------------------------------------------------------------------------------

/** The message that answers one unary call. Throws CallError. */
export async function call(authority, method, request, service = SERVICE) {
  const session = http2.connect(`http://${authority}`);
  let timer;
  try {
    return await new Promise((resolve, reject) => {
      const passing = (reason) => reject(new CallError(reason, { passing: true }));
      timer = setTimeout(() => passing('no answer'), CALL_MS);
      session.on('error', (error) => passing(reasonOf(error)));
      session.on('close', () => passing('connection closed'));
      const stream = session.request({
        ':method': 'POST',
        ':path': `/${service}/${method}`,
        'content-type': 'application/grpc',
        te: 'trailers',
      });
      const headers = {};
      const parts = [];
      stream.on('response', (received) => Object.assign(headers, received));
      stream.on('trailers', (received) => Object.assign(headers, received));
      stream.on('data', (part) => {
        parts.push(part);
        const size = parts.reduce((sum, each) => sum + each.length, 0);
        if (size > MAX_ANSWER_BYTES) reject(new CallError('an answer that is too long'));
      });
      stream.on('error', (error) => passing(reasonOf(error)));
      stream.on('end', () => {
        try {
          resolve(messageIn(headers, Buffer.concat(parts)));
        } catch (error) {
          reject(error);
        }
      });
      stream.end(framed(request));
    });
  } finally {
    clearTimeout(timer);
    session.destroy();
  }
}

/** Of a stream that ended with its connection, what ended the connection. */
function reasonOf(error) {
  const { code, message } = error.cause ?? error;
  return code ?? message;
}

function framed(message) {
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE(message.length, 1);
  return Buffer.concat([prefix, message]);
}

function messageIn(headers, data) {
  const code = headers['grpc-status'];
  if (code === undefined) {
    const status = headers[':status'];
    throw new CallError(status ? `HTTP status ${status} and no gRPC status` : 'no answer', { passing: true });
  }
  const status = STATUS[Number(code)] ?? `status ${code}`;
  if (status !== 'OK') {
    const message = `${status}: ${decoded(headers['grpc-message'] ?? '')}`;
    throw new CallError(message, { status, passing: PASSING.includes(status) });
  }
  if (data.length < 5 || data[0] !== 0 || data.readUInt32BE(1) !== data.length - 5) {
    throw new CallError('an answer that is not one plain gRPC message');
  }
  return data.subarray(5);
}

/** grpc-message is percent-encoded; what cannot be decoded is shown as it is. */
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
