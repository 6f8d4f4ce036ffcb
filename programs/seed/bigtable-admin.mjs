/** google.bigtable.admin.v2.BigtableTableAdmin: its few messages, and gRPC without TLS over Node's own HTTP/2. */
import http2 from 'node:http2';

import { contentsOf, field, framed, HEADER_BYTES, Malformed, numberField } from '../lib/protobuf.mjs';

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

// Numbers of fields: google/bigtable/admin/v2/bigtable_table_admin.proto and table.proto.
const COLUMN_FAMILY = '';
const SCHEMA_VIEW = 2;

export function createTableRequest(parent, id, families) {
  const table = families.map((family) => field(3, field(1, family), field(2, COLUMN_FAMILY)));
  return Buffer.concat([field(1, parent), field(2, id), field(3, ...table)]);
}

export function getTableRequest(name) {
  return Buffer.concat([field(1, name), numberField(2, SCHEMA_VIEW)]);
}

export function addFamilyRequest(name, family) {
  return Buffer.concat([field(1, name), field(2, field(1, family), field(2, COLUMN_FAMILY))]);
}

export function familiesOf(table) {
  try {
    return contentsOf(table, 3).flatMap((entry) => contentsOf(entry, 1).map(String));
  } catch (error) {
    throw error instanceof Malformed ? new CallError(`an answer that makes no sense: ${error.message}`) : error;
  }
}

// --- gRPC over HTTP/2 ------------------------------------------------------------------------------------------

/**
 * Sends the one message of a call. The stream has the answer; its headers and trailers come together in `headers`.
 * @param {http2.ClientHttp2Session} session
 * @param {string} path
 * @param {Buffer} request
 */
export function begin(session, path, request) {
  const how = { ':method': 'POST', ':path': path, 'content-type': 'application/grpc', te: 'trailers' };
  const stream = session.request(how);
  /** @type {Record<string, any>} */
  const headers = {};
  for (const event of ['response', 'trailers']) stream.on(event, (received) => Object.assign(headers, received));
  stream.end(framed(request));
  return { stream, headers };
}

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
      const { stream, headers } = begin(session, `/${service}/${method}`, request);
      const parts = [];
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
  if (data.length < HEADER_BYTES || data[0] !== 0 || data.readUInt32BE(1) !== data.length - HEADER_BYTES) {
    throw new CallError('an answer that is not one plain gRPC message');
  }
  return data.subarray(HEADER_BYTES);
}

/** grpc-message is percent-encoded; what cannot be decoded is shown as it is. */
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
