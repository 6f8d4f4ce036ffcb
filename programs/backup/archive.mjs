/**
 * Writes one archive of a stack into an S3 bucket, encrypted for a public key, and deletes those that a rule does not
 * keep. docs/migration.md has the format, which `./flatline restore` reads.
 *
 * The plan says what there is to read and where; services may write meanwhile. The manifest is written last: without it
 * an archive is none. Exit status 0 only when the archive is whole, and older ones were looked through; otherwise 1
 * with the reason, once what was written of it is deleted again. Logs numbers and names of collections, never content.
 */
import { spawn } from 'node:child_process';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import { Credentials } from '../lib/aws-credentials.mjs';
import { configured, Flags } from '../lib/flags.mjs';
import { log, reasonOf } from '../lib/log.mjs';
import { Bucket, codeOf } from '../lib/s3.mjs';
import { families, rows } from './bigtable.mjs';
import { keys, Place } from './place.mjs';
import { canonical, digest, itemLine, lineOf, Tally } from './records.mjs';
import { RefusedError, server } from './requests.mjs';
import { superfluous } from './retention.mjs';
import { keysToWrite, sealed } from './sealing.mjs';

const USAGE = 'backup/archive.mjs --plan FILE';
const FORMAT = { format: 'flatline-archive', version: 2 };
const HEADER = 'header.json';
const MANIFEST = 'manifest.json.sealed';
const BLOCK_CHARACTERS = 1 << 16;
const READERS = 4;
const READ_ATTEMPTS = 3;
/** Headers of an object that are kept of it, by their names in an archive. */
const KEPT = {
  cacheControl: 'cache-control',
  contentDisposition: 'content-disposition',
  contentEncoding: 'content-encoding',
  contentLanguage: 'content-language',
};

const plan = configured(USAGE, () => JSON.parse(new Flags({ plan: undefined }).file('plan')));

/** @param {string} file AWS's shared credentials file */
function credentialsOf(file, region) {
  return new Credentials({ env: { AWS_SHARED_CREDENTIALS_FILE: file }, region, session: 'flatline-backup' });
}

function serverOf({ endpoint, region, credentials }, service) {
  return server({ endpoint: new URL(endpoint), region, service, credentials: credentialsOf(credentials, region) });
}

// --- what is read ------------------------------------------------------------------------------------------------

/** The items of a table, by consistent reads. */
async function* items(ask, table) {
  for (let start; ; ) {
    const request = { TableName: table, ConsistentRead: true, ...(start && { ExclusiveStartKey: start }) };
    const headers = { 'content-type': 'application/x-amz-json-1.0', 'x-amz-target': 'DynamoDB_20120810.Scan' };
    const { text } = await ask(`reading table ${table}`, 'POST', '/', { headers, body: JSON.stringify(request) });
    const page = JSON.parse(text);
    for (const item of page.Items) yield itemLine(item);
    start = page.LastEvaluatedKey;
    if (!start) return;
  }
}

async function* groups(emulator, table) {
  for await (const row of rows(emulator, table)) yield lineOf(row);
}

/** An object with its content and what is said about it; undefined for one that is gone. */
async function object(bucket, name, key) {
  const answer = await bucket.read('GET', key);
  if (answer.statusCode !== 200) {
    const [code] = await codeOf(answer);
    if (answer.statusCode === 404) return undefined;
    throw new RefusedError(`reading bucket ${name}`, answer.statusCode, code);
  }
  const parts = [];
  for await (const part of answer) parts.push(part);
  /** @type {Record<string, any>} */
  const found = { key, contentType: answer.headers['content-type'], body: Buffer.concat(parts).toString('base64') };
  for (const [about, header] of Object.entries(KEPT)) if (answer.headers[header]) found[about] = answer.headers[header];
  const own = Object.entries(answer.headers).filter(([header]) => header.startsWith('x-amz-meta-'));
  if (own.length) found.metadata = Object.fromEntries(own.map(([header, value]) => [header.slice(11), value]));
  return lineOf({ Object: found });
}

/** `object`, also where a connection ends in the middle of one. */
async function wholeObject(bucket, name, key) {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await object(bucket, name, key);
    } catch (error) {
      if (attempt === READ_ATTEMPTS || !(error.code || error.passing)) throw error;
    }
  }
}

/** The objects of a bucket, a few of them fetched at the same time. */
async function* objects(store) {
  const { endpoint, region, bucket: name } = store;
  const bucket = new Bucket({
    name,
    region,
    endpoint: new URL(endpoint),
    credentials: credentialsOf(store.credentials, region),
  });
  /** @type {Promise<import('./records.mjs').Line | undefined>[]} */
  const under = [];
  const next = async () => under.shift();
  for await (const key of keys(serverOf(store, 's3'), name, '')) {
    const fetched = wholeObject(bucket, name, key);
    fetched.catch(() => {}); // it is awaited in its turn
    under.push(fetched);
    if (under.length < READERS) continue;
    const line = await next();
    if (line) yield line;
  }
  while (under.length) {
    const line = await next();
    if (line) yield line;
  }
}

/** The entries of a Secret that is mounted as a folder: kubelet keeps names of its own there, which begin with dots. */
async function entriesOf(folder) {
  const names = (await readdir(folder)).filter((name) => !name.startsWith('..')).sort();
  return Promise.all(names.map(async (name) => [name, await readFile(join(folder, name), 'utf8')]));
}

async function* entries(folder) {
  for (const [key, value] of await entriesOf(folder)) yield lineOf({ Entry: { key, value } });
}

/** The files of a volume, in pieces. */
async function* pieces(folder) {
  const child = spawn(process.execPath, [plan.reader, 'read', folder], { stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = new Promise((resolve) => child.once('close', resolve));
  for await (const line of createInterface({ input: child.stdout })) yield lineOf({ File: JSON.parse(line) });
  const status = await ended;
  if (status !== 0) throw new Error(`reading ${folder}: files.mjs ended with ${status}`);
}

/** Every collection: its kind, its name, its schema, its lines. */
async function* collections() {
  const { dynamodb, bigtable } = plan;
  const ask = serverOf(dynamodb, 'dynamodb');
  for (const { name, ...schema } of dynamodb.tables) yield { kind: 'dynamodb', name, schema, lines: items(ask, name) };
  for (const name of bigtable.tables) {
    const table = `projects/${bigtable.project}/instances/${bigtable.instance}/tables/${name}`;
    const schema = { families: await families(bigtable.emulator, table) };
    yield { kind: 'bigtable', name, schema, lines: groups(bigtable.emulator, table) };
  }
  for (const { name, ...store } of plan.objects) yield { kind: 'objects', name, schema: {}, lines: objects(store) };
  for (const { name, folder } of plan.secrets) yield { kind: 'secrets', name, schema: {}, lines: entries(folder) };
  for (const { name, folder } of plan.files) yield { kind: 'files', name, schema: {}, lines: pieces(folder) };
}

// --- what is written ---------------------------------------------------------------------------------------------

/** The text of lines in blocks, counted. */
async function* blocks(lines, tally) {
  let text = '';
  for await (const line of lines) {
    tally.add(line);
    text += `${line.text}\n`;
    if (text.length < BLOCK_CHARACTERS) continue;
    yield Buffer.from(text);
    text = '';
  }
  yield Buffer.from(text);
}

async function* once(/** @type {string} */ text) {
  yield Buffer.from(text);
}

const now = new Date(Math.floor(Date.now() / 1000) * 1000).toISOString();
const folder = `${plan.stack}-${now.replace(/[:-]|\.\d+/g, '')}`;
const { prefix, bucket } = plan.to;
const place = new Place(serverOf(plan.to, 's3'), bucket, prefix);

/** Writes the archive, and returns what the log says of it. */
async function write() {
  await place.names(); // before anything is read: the place is there, and may be used
  const created = now.replace('.000Z', '+00:00');
  const { text, keyOf } = keysToWrite(plan.recipient, (ephemeral) =>
    canonical({ ...FORMAT, stack: plan.stack, created, recipient: plan.recipient, ephemeral }),
  );
  await place.write(`${folder}/${HEADER}`, once(text));
  /** @type {Record<string, Record<string, object>>} */
  const parts = { dynamodb: {}, bigtable: {}, objects: {}, secrets: {}, files: {} };
  let records = 0;
  for await (const { kind, name, schema, lines } of collections()) {
    const file = `${kind}/${name}.jsonl.gz.sealed`;
    const tally = new Tally();
    let written = { bytes: 0, sha256: '' };
    await pipeline(blocks(lines, tally), createGzip(), async (/** @type {AsyncIterable<Buffer>} */ packed) => {
      written = await place.write(`${folder}/${file}`, sealed(packed, keyOf(file)));
    });
    parts[kind][name] = { file, count: tally.count, checksum: tally.checksum, ...written, schema };
    records += tally.count;
    log('written', { kind, name, records: tally.count, bytes: written.bytes });
  }
  const documents = { ...Object.fromEntries(await entriesOf(plan.documents)), release: plan.release };
  const body = { ...FORMAT, stack: plan.stack, created, live: true, documents, ...parts };
  const manifest = canonical({ ...body, sha256: digest(canonical(body)) });
  await place.write(`${folder}/${MANIFEST}`, sealed(once(manifest), keyOf(MANIFEST)));
  return { archive: folder, records, documents: Object.keys(documents).sort() };
}

async function tidy() {
  const names = await place.names();
  const whole = names.filter((name) => name.split('/').length === 2 && name.endsWith(`/${MANIFEST}`));
  for (const old of superfluous(
    plan.stack,
    whole.map((name) => name.split('/')[0]),
    plan.keep,
  )) {
    if (old === folder) continue;
    await place.delete(old, MANIFEST, names);
    log('deleted', { archive: old, because: 'keep' });
  }
}

/** Takes back an archive that is not whole, as far as the place lets it. */
async function undo() {
  try {
    await place.abandon();
    await place.delete(folder, MANIFEST, await place.names());
  } catch (error) {
    log('left', { archive: folder, reason: reasonOf(error) });
  }
}

const terminated = new Promise((_, reject) => {
  process.once('SIGTERM', () => reject(new Error('SIGTERM')));
});
terminated.catch(() => {}); // it is awaited below
let whole = false;
try {
  const archived = await Promise.race([write(), terminated]);
  whole = true;
  log('archived', archived);
  if (Object.keys(plan.keep).length) await Promise.race([tidy(), terminated]);
} catch (error) {
  log('failed', { archive: whole ? 'is whole' : 'none', reason: reasonOf(error) });
  if (!whole) await undo();
  process.exit(1);
}
