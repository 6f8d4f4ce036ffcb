/**
 * Creates the tables and column families that a Bigtable emulator lacks; changes and deletes nothing that is there,
 * and a second run does nothing.
 *
 * An emulator that is not there yet, or not ready, is tried again until --deadline. Exit status 0 only when every table
 * and family was seen there; 1 with the reason otherwise; 2 when the arguments are wrong; 143 after SIGTERM. Logs one
 * JSON line for each thing made, each wait, and the total.
 */
import { setTimeout as sleep } from 'node:timers/promises';

import { configured, Flags, must } from '../lib/flags.mjs';
import { log } from '../lib/log.mjs';
import {
  addFamilyRequest,
  CallError,
  call,
  createTableRequest,
  familiesOf,
  getTableRequest,
} from './bigtable-admin.mjs';

const USAGE = `seed/bigtable.mjs --emulator HOST:PORT --project ID --instance ID --table ID=FAMILY[,FAMILY]...
  [--deadline SECONDS]`;
const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 5_000;
const TABLE = /^([_a-zA-Z0-9][-_.a-zA-Z0-9]{0,49})=([-_.a-zA-Z0-9]{1,64}(?:,[-_.a-zA-Z0-9]{1,64})*)$/;

/**
 * Column families by table id.
 * @param {string[]} texts
 * @returns {Map<string, string[]>}
 */
function tablesIn(texts) {
  must(texts.length, '--table is missing');
  return new Map(
    texts.map((text) => {
      const [, id, families] = TABLE.exec(text) ?? [];
      must(id, `--table ${text} must be ID=FAMILY[,FAMILY]...`);
      return [id, [...new Set(families.split(','))]];
    }),
  );
}

const { emulator, parent, seconds, tables } = configured(USAGE, () => {
  const flags = new Flags({ emulator: undefined, project: undefined, instance: undefined, table: [], deadline: '300' });
  const place = (/** @type {string} */ name) =>
    flags.text(name, /^[a-z0-9][-a-z0-9.:]*$/, 'must be an id of lower-case letters, digits and hyphens');
  const address = /^(?:[^\s/:@[\]]+|\[[0-9a-fA-F:.]+\]):[1-9][0-9]{0,4}$/;
  return {
    emulator: flags.text('emulator', address, 'must be host:port'),
    parent: `projects/${place('project')}/instances/${place('instance')}`,
    seconds: flags.seconds('deadline', { max: 999_999 }),
    tables: tablesIn(flags.list('table')),
  };
});
const end = performance.now() + seconds * 1000;
let made = 0;

function nameOf(id) {
  return `${parent}/tables/${id}`;
}

/** `call`, again and again while what fails is passing. Throws CallError saying which call of which table. */
async function insist(method, id, request) {
  let pause = FIRST_PAUSE_MS;
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
    pause = Math.min(2 * pause, LONGEST_PAUSE_MS);
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

/** Makes something, and counts it unless it is there already: by somebody else, or by a call whose answer was lost. */
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

/**
 * @param {string} id
 * @param {string[]} wanted
 */
async function seed(id, wanted) {
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
  for (const [id, families] of tables) await seed(id, families);
} catch (error) {
  if (!(error instanceof CallError)) throw error;
  console.error(`seed/bigtable.mjs: ${error.message}`);
  process.exit(1);
}
log('done', { tables: tables.size, created: made });
