/**
 * Creates the tables and column families that a Bigtable emulator lacks; changes and deletes nothing that is there,
 * and a second run does nothing.
 *
 * Speaks gRPC without TLS (google.bigtable.admin.v2.BigtableTableAdmin) over Node's own HTTP/2, with its few Protocol
 * Buffers messages written out below. An emulator that is not there yet, or not ready, is tried again until
 * --deadline. Exit status 0 only when every table and family was seen there; 1 with the reason otherwise; 2 when the
 * arguments are wrong; 143 after SIGTERM. Logs one JSON line for each thing made, each wait, and the total.
 */
import { readFileSync } from 'node:fs';
import http2 from 'node:http2';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';

const USAGE = `usage: bigtable-seed.mjs --emulator HOST:PORT --project ID --instance ID
  (--tables JSON | --tables-file FILE) [--deadline SECONDS]
  JSON: {"table id": ["column family", ...], ...}`;
const DEFAULT_DEADLINE_SECONDS = 300;
const CALL_MILLISECONDS = 10_000;
const FIRST_PAUSE_MILLISECONDS = 250;
const LONGEST_PAUSE_MILLISECONDS = 5_000;
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
class CallError extends Error {
  constructor(message, { status = '', passing = false } = {}) {
    super(message);
    this.status = status;
    this.passing = passing;
  }
}

function log(event, fields = {}) {
  console.log(JSON.stringify({ time: new Date().toISOString(), event, ...fields }));
}

function stop(problem) {
  console.error(`bigtable-seed: ${problem}\n${USAGE}`);
  process.exit(2);
}

// --- Protocol Buffers' wire format -----------------------------------------------------------------------------

function varint(value) {
  const bytes = [];
  let left = value;
  for (; left > 0x7f; left = Math.floor(left / 0x80)) bytes.push((left % 0x80) | 0x80);
  return Buffer.from([...bytes, left]);
}

/** A length-delimited field: a text, or a message given as its fields. */
function field(number, ...content) {
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

function createTableRequest(parent, id, families) {
  const table = families.map((family) => field(3, field(1, family), field(2, COLUMN_FAMILY)));
  return Buffer.concat([field(1, parent), field(2, id), field(3, ...table)]);
}

function getTableRequest(name) {
  return Buffer.concat([field(1, name), enumField(2, SCHEMA_VIEW)]);
}

function addFamilyRequest(name, family) {
  return Buffer.concat([field(1, name), field(2, field(1, family), field(2, COLUMN_FAMILY))]);
}

function familiesOf(table) {
  const entries = [...fieldsOf(table)].filter(([number]) => number === 3);
  return entries.flatMap(([, entry]) => [...fieldsOf(entry)].filter(([part]) => part === 1).map(([, key]) => `${key}`));
}

// --- gRPC over HTTP/2 ------------------------------------------------------------------------------------------

/** The message that answers one call. Throws CallError. */
async function call(authority, method, request) {
  const session = http2.connect(`http://${authority}`);
  let timer;
  try {
    return await new Promise((resolve, reject) => {
      const passing = (reason) => reject(new CallError(reason, { passing: true }));
      timer = setTimeout(() => passing('no answer'), CALL_MILLISECONDS);
      session.on('error', (error) => passing(reasonOf(error)));
      session.on('close', () => passing('connection closed'));
      const stream = session.request({
        ':method': 'POST',
        ':path': `/${SERVICE}/${method}`,
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

// --- configuration ---------------------------------------------------------------------------------------------

const TABLE_ID = /^[_a-zA-Z0-9][-_.a-zA-Z0-9]{0,49}$/;
const FAMILY_ID = /^[-_.a-zA-Z0-9]{1,64}$/;
const PLACE_ID = /^[a-z0-9][-a-z0-9.:]*$/;

function tablesIn(values) {
  if ((values.tables === undefined) === (values['tables-file'] === undefined)) {
    stop('exactly one of --tables and --tables-file is needed');
  }
  const name = values.tables === undefined ? `--tables-file ${values['tables-file']}` : '--tables';
  let tables;
  try {
    tables = JSON.parse(values.tables ?? readFileSync(values['tables-file'], 'utf8'));
  } catch (error) {
    stop(`${name}: ${error.code ?? 'not JSON'}`);
  }
  if (tables === null || typeof tables !== 'object' || Array.isArray(tables)) stop(`${name} must hold one object`);
  if (!Object.keys(tables).length) stop(`${name} names no table`);
  for (const [id, families] of Object.entries(tables)) {
    if (!TABLE_ID.test(id)) stop(`${name}: ${JSON.stringify(id)} is not a table id`);
    const fine = Array.isArray(families) && families.length && families.every((each) => FAMILY_ID.test(each));
    if (!fine) stop(`${name}: table ${id} needs a list of column families`);
  }
  return tables;
}

function configuration() {
  const names = ['emulator', 'project', 'instance', 'tables', 'tables-file', 'deadline'];
  let values;
  try {
    ({ values } = parseArgs({ options: Object.fromEntries(names.map((name) => [name, { type: 'string' }])) }));
  } catch (error) {
    stop(error.message);
  }
  if (!/^(?:[^\s/:@[\]]+|\[[0-9a-fA-F:.]+\]):[1-9][0-9]{0,4}$/.test(values.emulator ?? '')) {
    stop('--emulator must be host:port');
  }
  for (const name of ['project', 'instance']) {
    if (!PLACE_ID.test(values[name] ?? '')) stop(`--${name} must be an id of lower-case letters, digits and hyphens`);
  }
  const deadline = values.deadline ?? String(DEFAULT_DEADLINE_SECONDS);
  if (!/^[1-9][0-9]{0,5}$/.test(deadline)) stop('--deadline must be a whole number of seconds, at least 1');
  return { ...values, seconds: Number(deadline), tables: tablesIn(values) };
}

// --- the seed --------------------------------------------------------------------------------------------------

const { emulator, project, instance, seconds, tables } = configuration();
const parent = `projects/${project}/instances/${instance}`;
const end = performance.now() + seconds * 1000;
let made = 0;

function nameOf(id) {
  return `${parent}/tables/${id}`;
}

/** `call`, again and again while what fails is passing. Throws CallError saying which call of which table. */
async function insist(method, id, request) {
  let pause = FIRST_PAUSE_MILLISECONDS;
  let reason = '';
  for (;;) {
    try {
      return await call(emulator, method, request);
    } catch (error) {
      if (!(error instanceof CallError)) throw error;
      const problem = `${method} ${id} at ${emulator}: ${error.message}`;
      if (!error.passing) throw new CallError(problem, error);
      if (performance.now() + pause > end) throw new CallError(`${problem}; given up after ${seconds} s`);
      if (reason !== error.message) log('waiting', { emulator, reason: error.message });
      reason = error.message;
    }
    await sleep(pause);
    pause = Math.min(2 * pause, LONGEST_PAUSE_MILLISECONDS);
  }
}

/** The families of a table, undefined if there is no such table. */
async function existing(id) {
  try {
    return familiesOf(await insist('GetTable', id, getTableRequest(nameOf(id))));
  } catch (error) {
    if (error.status === 'NOT_FOUND') return undefined;
    throw error;
  }
}

/** Whether this call made it: somebody else, or a call whose answer was lost, may have done so meanwhile. */
async function make(method, id, request, what) {
  try {
    await insist(method, id, request);
  } catch (error) {
    if (error.status !== 'ALREADY_EXISTS') throw error;
    return;
  }
  made += 1;
  log('created', { table: id, ...what });
}

async function seed(id, families) {
  const wanted = [...new Set(families)];
  let found = await existing(id);
  if (found === undefined) {
    await make('CreateTable', id, createTableRequest(parent, id, wanted), { families: wanted });
    found = (await existing(id)) ?? [];
  }
  for (const family of wanted.filter((each) => !found.includes(each))) {
    await make('ModifyColumnFamilies', id, addFamilyRequest(nameOf(id), family), { family });
  }
  const present = (await existing(id)) ?? [];
  const lacking = wanted.filter((each) => !present.includes(each));
  if (lacking.length) throw new CallError(`table ${id} still lacks ${lacking.join(', ')}`);
  const surplus = present.filter((each) => !wanted.includes(each));
  if (surplus.length) log('surplus', { table: id, families: surplus });
}

process.on('SIGTERM', () => process.exit(143));
try {
  for (const [id, families] of Object.entries(tables)) await seed(id, families);
} catch (error) {
  if (!(error instanceof CallError)) throw error;
  console.error(`bigtable-seed: ${error.message}`);
  process.exit(1);
}
log('done', { tables: Object.keys(tables).length, created: made });
