/**
 * An attacker with many client keys against one invited number, and an invited person among them: the parts of the
 * program, with a clock of this file's own, a store in memory, and a hash that costs nothing.
 *
 *   node registration_attack.mjs PROGRAMS '{"scenario": "week", ...}'
 *
 * Prints one line of JSON: what happened. The program's own log goes to the standard error.
 */
const [, , programs, text] = process.argv;
const { partsOf } = await import(`${programs}/registration/parts.mjs`);
const { HASHES } = await import(`${programs}/registration/limits.mjs`);
const wanted = JSON.parse(text);

const print = process.stdout.write.bind(process.stdout);
const events = [];
process.stdout.write = (line) => events.push(JSON.parse(line)) > 0;

/** Timers in the order of their times; those of one time in the order of their making. */
class Clock {
  #heap = [];
  #number = 0;
  time = 1_800_000_000_000;

  now() {
    return this.time;
  }

  after(ms, call) {
    const entry = { at: this.time + ms, number: this.#number++, call };
    this.#up(entry);
    return () => {
      entry.call = undefined;
    };
  }

  sleep(ms) {
    return new Promise((resolve) => this.after(ms, resolve));
  }

  #before(one, other) {
    return one.at < other.at || (one.at === other.at && one.number < other.number);
  }

  #up(entry) {
    const heap = this.#heap;
    let index = heap.push(entry) - 1;
    for (; index > 0; index = (index - 1) >> 1) {
      const parent = (index - 1) >> 1;
      if (!this.#before(entry, heap[parent])) break;
      heap[index] = heap[parent];
      heap[parent] = entry;
    }
  }

  #pop() {
    const heap = this.#heap;
    const [top] = heap;
    const last = heap.pop();
    if (heap.length === 0) return top;
    heap[0] = last;
    for (let index = 0; ; ) {
      let child = 2 * index + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && this.#before(heap[child + 1], heap[child])) child += 1;
      if (!this.#before(heap[child], heap[index])) break;
      [heap[index], heap[child]] = [heap[child], heap[index]];
      index = child;
    }
    return top;
  }

  /** Lives until `ended` says so, or until a time. */
  async run(ended, until = Number.POSITIVE_INFINITY) {
    while (!ended()) {
      if (this.#heap.length === 0 || this.#heap[0].at > until) {
        this.time = until;
        return;
      }
      const { at, call } = this.#pop();
      if (!call) continue;
      this.time = at;
      call();
      await new Promise(process.nextTick); // all that follows from it, but for time
    }
  }
}

const clock = new Clock();
const begin = clock.time;
const seconds = () => (clock.time - begin) / 1000;
const WEEK_MS = 7 * 86_400_000;
const NUMBER = '12025550100';
const PAIR = '314159265358';
const context = { signal: undefined, milliseconds: 15_000 };
let hashes = 0;

/** The "hash" is the password itself, filled up; so only the right one is equal. */
const padded = (password) => Buffer.from(password.padEnd(32, '.'));
const hash = async (password) => {
  hashes += 1;
  if (wanted.hashMs) await clock.sleep(wanted.hashMs);
  return padded(password);
};
const known = new Map();
function invite(code, id) {
  const expires = Math.floor(clock.time / 1000) + 7 * 86_400;
  known.set(NUMBER, {
    id: id.repeat(32),
    salt: Buffer.alloc(16),
    hash: padded(code),
    expires,
    again: false,
    codes: code.length / 6,
  });
}
const standIn = () => ({ id: '0'.repeat(32), hash: Buffer.alloc(32, 1), expires: 9_999_999_999, codes: 1 });
const store = { append: async () => {}, snapshot: () => [] };
const invitations = { current: async () => known, standIn, malformed: 0 };
const parts = partsOf({ clock, store, hash, invitations, hashes: HASHES });
const { calls, verifier } = parts;
const state = () => verifier.stateOf(known.get(NUMBER));

const take = (answer) => answer.session_metadata;
const pause = (error) => Math.max(error.retry_after_seconds, 1) * 1000;
/** An attacker who is told to wait for the queue comes again at once, if that is wanted. */
const impatient = (error) => (wanted.hammer && error.retry_after_seconds <= 60 ? 2000 : pause(error));
let verifiedByAttacker = 0;
let tried = 0;
let pairs = 0;
let stopped = false;

/** One client key of the attacker: it does what it may as soon as it may, for ever. */
async function attacker(index) {
  const client = `attacker ${index}`;
  await clock.sleep((wanted.spreadMs ?? 0) * Math.random());
  for (let turn = 0; !stopped; turn += 1) {
    const number = wanted.others ? `${BigInt(NUMBER) + BigInt((index * 7 + turn) % wanted.others)}` : NUMBER;
    const created = calls.CreateSession({
      e164: number,
      account_exists_with_e164: false,
      rate_limit_collation_key: client,
    });
    if (created.error) {
      await clock.sleep(pause(created.error));
      continue;
    }
    const { session_id } = take(created);
    await calls.SendVerificationCode({ session_id, transport: 1, accept_language: '' });
    for (let checks = 0; !stopped; ) {
      const code = `${Math.floor(Math.random() * 1e6)}`.padStart(6, '0');
      const checked = await calls.CheckVerificationCode({ session_id, verification_code: code }, context);
      if (checked.error && !checked.error.may_retry) break;
      if (checked.error) {
        const ms = impatient(checked.error);
        await clock.sleep(ms);
        if (ms > 600_000 || !checked.session_metadata) break; // the session has ended meanwhile
        continue;
      }
      checks += 1;
      tried += number === NUMBER;
      pairs += number === NUMBER && checks > 1;
      verifiedByAttacker += take(checked).verified;
      if (!take(checked).may_check_code || (wanted.others && checks === 2)) break;
    }
  }
}

/** The invited person, who types both codes again and again, as Signal lets them; the seconds that it takes. */
async function person(client) {
  const started = clock.time;
  const codes = [PAIR.slice(0, 6), PAIR.slice(6)];
  for (;;) {
    const created = calls.CreateSession({
      e164: NUMBER,
      account_exists_with_e164: false,
      rate_limit_collation_key: client,
    });
    const { session_id } = take(created);
    await calls.SendVerificationCode({ session_id, transport: 1, accept_language: '' });
    for (const code of codes) {
      for (;;) {
        const checked = await calls.CheckVerificationCode({ session_id, verification_code: code }, context);
        if (take(checked)?.verified) return (clock.time - started) / 1000;
        if (!checked.error) break;
        if (!checked.error.may_retry) throw new Error('the person may not go on');
        await clock.sleep(pause(checked.error));
      }
    }
  }
}

/** The person with the one right code, once; whether it verified. */
async function rightCode(client, code) {
  const created = calls.CreateSession({
    e164: NUMBER,
    account_exists_with_e164: false,
    rate_limit_collation_key: client,
  });
  const { session_id } = take(created);
  await calls.SendVerificationCode({ session_id, transport: 1, accept_language: '' });
  for (;;) {
    const checked = await calls.CheckVerificationCode({ session_id, verification_code: code }, context);
    if (!checked.error) return take(checked).verified;
    await clock.sleep(pause(checked.error));
  }
}

/**
 * A week against an invitation of one code, or of two: what the attacker could try. After `seconds` it rests; who types
 * the one right code at the end of the week says whether it still counts.
 */
async function week() {
  invite(wanted.codes === 2 ? PAIR : PAIR.slice(0, 6), 'a');
  for (let index = 0; index < wanted.keys; index += 1) attacker(index);
  const end = begin + WEEK_MS - 60_000;
  const rest = begin + (wanted.seconds ?? WEEK_MS / 1000) * 1000;
  let locked;
  await clock.run(
    () => {
      if (locked === undefined && state().state === 'locked') locked = seconds();
      return false;
    },
    Math.min(rest, end),
  );
  stopped = true;
  clock.time = end;
  const { state: last, wrong } = state();
  let opens;
  if (wanted.codes === 1) {
    rightCode('a person at the end', PAIR.slice(0, 6)).then((verified) => {
      opens = verified;
    });
    await clock.run(() => opens !== undefined);
  }
  return { state: last, wrong, locked, tried, pairs, opens, seconds: seconds() };
}

/** The attack is under way and the invitation locked; the operator issues two codes, and the person types them. */
async function cure() {
  invite(PAIR.slice(0, 6), 'a');
  for (let index = 0; index < wanted.keys; index += 1) attacker(index);
  const commandAt = begin + wanted.commandSeconds * 1000;
  await clock.run(() => clock.time >= commandAt);
  const before = state().state;
  invite(PAIR, 'b');
  let took;
  let failed;
  person('the person').then(
    (value) => {
      took = value;
    },
    (error) => {
      failed = error.message;
    },
  );
  await clock.run(() => took !== undefined || failed !== undefined || clock.time > commandAt + 3_600_000);
  const { waiting } = parts.queue;
  return { before, took, failed, waiting, after: state().state };
}

const outcome = await { week, cure }[wanted.scenario]();
const told = events.map(({ event }) => event).filter((event) => event.startsWith('invitation'));
print(`${JSON.stringify({ ...outcome, hashes, verifiedByAttacker, told })}\n`, () => process.exit(0));
