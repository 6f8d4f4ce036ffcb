/**
 * Tries each store of a stack with a write and a read of its own; a throw-away pod runs it.
 *
 * A store is asked for which flags are given. Everything that is written is the doctor's own, under a name by chance,
 * and is deleted again. Prints one JSON line with a key for each store; `problem` there says what went wrong. A store
 * that takes no connection is tried again for --seconds, because network policies may not know this pod yet.
 *
 * Exit status 0 when it has looked, whatever it saw; 2 when the arguments are wrong.
 */
import { setTimeout as sleep } from 'node:timers/promises';

import { Credentials } from '../lib/aws-credentials.mjs';
import { configured, Flags, must } from '../lib/flags.mjs';
import { reasonOf } from '../lib/log.mjs';
import { endpointOf } from '../lib/s3.mjs';
import { tryRow } from './bigtable.mjs';
import { tryTable } from './dynamodb.mjs';
import { tryBucket } from './objects.mjs';
import { look, tryKey, tryNotification, waiting } from './redis.mjs';

const USAGE = `doctor/stores.mjs [--seconds SECONDS] [--region REGION]
  [--redis-password-file FILE [--redis NAME=HOST:PORT]... [--pubsub HOST:PORT]]
  [--dynamodb URL --table NAME --hash NAME --ttl NAME] [--objects URL --bucket NAME]
  [--bigtable HOST:PORT --bigtable-table NAME --family NAME]`;
const PAUSE_MS = 500;

/** @param {string} text */
function address(text) {
  const [, name = '', host, port] = /^(?:([\w.-]+)=)?([\w.-]+):([1-9][0-9]{0,4})$/.exec(text) ?? [];
  must(host, `${text} must be [NAME=]HOST:PORT`);
  return { name: name || host, host, port: Number(port) };
}

const { seconds, region, password, redis, pubsub, table, bucket, row } = configured(USAGE, () => {
  const flags = new Flags({
    seconds: '10',
    region: 'us-east-1',
    redis: [],
    ...Object.fromEntries(
      [
        ...['redis-password-file', 'pubsub', 'dynamodb', 'table', 'hash', 'ttl', 'objects', 'bucket'],
        ...['bigtable', 'bigtable-table', 'family'],
      ].map((name) => [name, undefined]),
    ),
  });
  const endpoint = (/** @type {string} */ name) => {
    const url = endpointOf(flags.text(name));
    if (!url) must(false, `--${name} must be https://HOST or http://HOST[:PORT]`);
    return /** @type {URL} */ (url);
  };
  return {
    seconds: flags.seconds('seconds', { max: 60 }),
    region: flags.text('region'),
    password: flags.has('redis-password-file') ? flags.line('redis-password-file') : '',
    redis: flags.list('redis').map(address),
    pubsub: flags.has('pubsub') ? address(flags.text('pubsub')) : undefined,
    table: flags.has('dynamodb')
      ? {
          endpoint: endpoint('dynamodb'),
          table: flags.text('table'),
          hash: flags.text('hash'),
          ttl: flags.text('ttl'),
        }
      : undefined,
    bucket: flags.has('objects') ? { endpoint: endpoint('objects'), bucket: flags.text('bucket') } : undefined,
    row: flags.has('bigtable')
      ? { emulator: flags.text('bigtable'), table: flags.text('bigtable-table'), family: flags.text('family') }
      : undefined,
  };
});

const end = performance.now() + seconds * 1000;
const PASSING = /ECONN|ETIMEDOUT|EHOST|ENET|EAI_AGAIN|ENOTFOUND|UND_ERR|no answer|connection closed|TimeoutError/;

/**
 * The result of `attempt`, or its problem. Tries again while there is no connection.
 * @param {() => Promise<object | void>} attempt
 * @returns {Promise<Record<string, any>>}
 */
async function insist(attempt) {
  for (;;) {
    try {
      return { ...(await attempt()) };
    } catch (error) {
      const problem = error.name === 'TimeoutError' ? 'no answer' : reasonOf(error.cause ?? error);
      if (!PASSING.test(problem) || performance.now() + PAUSE_MS > end) return { problem };
    }
    await sleep(PAUSE_MS);
  }
}

/** The nodes as they are; asked again while one of them does not answer. */
async function nodes() {
  for (;;) {
    const seen = await Promise.all(redis.map((node) => look(node, password)));
    const silent = seen.some(({ problem }) => problem && PASSING.test(problem));
    if (!silent || performance.now() + PAUSE_MS > end) return seen;
    await sleep(PAUSE_MS);
  }
}

async function cluster() {
  const seen = await nodes();
  const answering = redis.filter((_, at) => !seen[at].problem);
  const masters = redis.filter((_, at) => seen[at].role === 'master');
  const [written, waits] = await Promise.all([
    insist(() => tryKey(answering, password)),
    insist(() => waiting(masters, password)),
  ]);
  return { redis: { nodes: seen, ...written }, persister: waits };
}

async function aws() {
  if (!table && !bucket) return {};
  const keys = () => new Credentials({ region, session: 'flatline-doctor' }).get();
  const [dynamodb, objects] = await Promise.all([
    table && insist(async () => tryTable({ ...table, region, credentials: await keys() })),
    bucket && insist(async () => tryBucket({ ...bucket, region, credentials: await keys() })),
  ]);
  return {
    ...(table ? { dynamodb: { what: `table ${table.table}`, ...dynamodb } } : {}),
    ...(bucket ? { objects: { what: `bucket ${bucket.bucket}`, ...objects } } : {}),
  };
}

process.on('SIGTERM', () => process.exit(143));
const found = await Promise.all([
  redis.length ? cluster() : {},
  pubsub ? insist(() => tryNotification(pubsub, password)).then((answer) => ({ pubsub: answer })) : {},
  aws(),
  row
    ? insist(() => tryRow(row)).then((answer) => ({
        bigtable: { what: `table ${row.table.split('/').at(-1)}`, ...answer },
      }))
    : {},
]);
process.stdout.write(`${JSON.stringify(Object.assign({}, ...found))}\n`);
process.exit(0);
