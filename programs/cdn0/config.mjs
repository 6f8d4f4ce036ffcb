/** The flags of the gate. */
import { configured, FlagError, Flags, must } from '../lib/flags.mjs';
import { S3_FLAGS, storeOf } from '../lib/s3.mjs';

export const USAGE = `cdn0/gate.mjs --listen [ADDRESS]:PORT --health-listen [ADDRESS]:PORT --writes put|form
  --s3-bucket NAME --s3-region REGION --s3-endpoint URL --read PATTERN... --upload NAME:BYTES:PATTERN...
  --credentials-file FILE [--LIMIT NUMBER]...
  PATTERN: of whole keys, a regular expression of JavaScript. NAME:BYTES:PATTERN: a rule of uploads; keys that match
  may be uploaded, up to so many bytes, by those whose credentials name the rule.`;

/** Limits by their flags. Times are in seconds. */
const LIMITS = {
  connections: 384, // at once; one with a stuck upload holds up to 0.8 MiB
  'client-requests': 64, // of one client at once
  forms: 128, // at once that are not authorized yet
  'client-forms': 16, // the same of one client
  'header-bytes': 8192,
  'header-seconds': 5, // for all request headers, which a proxy sends at once
  'form-seconds': 10, // for a form's fields, which authorize it
  'request-seconds': 900, // for a whole request: 10 MiB at 12 KB/s
  'bytes-per-second': 2048, // the least that a client must send or take
  'progress-seconds': 30, // in which it may do nothing
  'reading-seconds': 300, // the same for one that reads: the kernel takes its bytes in steps of up to 2 MiB
  'idle-seconds': 120, // between two requests; longer than the proxy in front keeps idle connections (Traefik: 90)
  'upstream-seconds': 30, // without a sign of life from the upstream
  'linger-seconds': 3, // for reading on after a refusal, so that the answer is not lost in a connection reset
  'drain-seconds': 25, // for requests under way at SIGTERM
};
const MAX_LIMIT = 2_000_000; // seconds: still a valid timer in milliseconds
/** S3's limit for a form without its file. */
export const FORM_BYTES = 20480;

/** @typedef {{ pattern: RegExp, maxBytes: number }} UploadRule */
/** @typedef {{ name: string, secretAccessKey: string, uploads: UploadRule[], deletes: UploadRule[] }} Signer */
/** @typedef {ReturnType<typeof configuration>} Config */

/** @param {string} name */
const camelCase = (name) => name.replace(/-(.)/g, (_, letter) => letter.toUpperCase());

/**
 * @param {string} text
 * @param {string} flag
 */
function keyPattern(text, flag) {
  try {
    return new RegExp(`^(?:${text})$`);
  } catch {
    throw new FlagError(`--${flag} ${text} is not a regular expression`);
  }
}

/**
 * @param {string[]} texts
 * @returns {Map<string, UploadRule>}
 */
function uploadRules(texts) {
  const rules = new Map();
  for (const text of texts) {
    const [, name, bytes, pattern] = /^([\w-]+):([1-9][0-9]{0,9}):(.+)$/.exec(text) ?? [];
    must(name && Number(bytes) <= 5 * 1024 ** 3, `--upload ${text} must be NAME:BYTES:PATTERN`);
    must(!rules.has(name), `--upload ${name} is there twice`);
    rules.set(name, { pattern: keyPattern(pattern, 'upload'), maxBytes: Number(bytes) });
  }
  return rules;
}

/** Of one entry of the credentials' file; of `name` also what the log tells. */
const FIELDS = /** @type {const} */ ([
  ['name', /^[\w-]+$/, 'must be a name'],
  ['accessKeyId', /^\w{3,128}$/, 'must be 3 to 128 letters, digits or underscores'],
  ['secretAccessKey', /^[!-~]{16,}$/, 'must be at least 16 printable characters'],
]);
const KNOWN = new Set([...FIELDS.map(([name]) => name), 'uploads', 'deletes']);

/**
 * Those who sign, by access key id. The file holds a JSON list of {name, accessKeyId, secretAccessKey, uploads,
 * deletes}; the last two are names of upload rules, whose keys it may sign forms for, and delete.
 * @param {string} text
 * @param {Map<string, UploadRule>} rules
 * @returns {Map<string, Signer>}
 */
function signersIn(text, rules) {
  const file = '--credentials-file';
  let list;
  try {
    list = JSON.parse(text);
  } catch {
    throw new FlagError(`${file}: not valid JSON`); // the parser's own message would quote the content
  }
  must(Array.isArray(list) && list.length > 0, `${file} must hold a list of 1 or more`);
  const signers = new Map();
  for (const [i, one] of list.entries()) {
    must(typeof one === 'object' && one !== null, `${file}: [${i}] must be an object`);
    for (const name of Object.keys(one)) must(KNOWN.has(name), `${file}: [${i}].${name} is not a known setting`);
    for (const [name, pattern, rule] of FIELDS) {
      must(typeof one[name] === 'string' && pattern.test(one[name]), `${file}: [${i}].${name} ${rule}`);
    }
    const named = (/** @type {unknown} */ names) => {
      must(Array.isArray(names), `${file}: ${one.name} needs lists of rules`);
      return names.map((name) => rules.get(name) ?? mustBeARule(`${file}: ${one.name} names no rule: ${name}`));
    };
    must(!signers.has(one.accessKeyId), `${file}: ${one.name} has an access key id that another one has`);
    signers.set(one.accessKeyId, { ...one, uploads: named(one.uploads ?? []), deletes: named(one.deletes ?? []) });
  }
  return signers;
}

/**
 * @param {string} problem
 * @returns {never}
 */
function mustBeARule(problem) {
  throw new FlagError(problem);
}

/** The flags, checked. Ends the program where they cannot be right. */
export function configuration() {
  return configured(USAGE, () => {
    const limitFlags = Object.fromEntries(Object.entries(LIMITS).map(([name, value]) => [name, `${value}`]));
    const flags = new Flags({
      ...S3_FLAGS,
      ...limitFlags,
      listen: undefined,
      'health-listen': undefined,
      writes: undefined,
      read: [],
      upload: [],
      'credentials-file': undefined,
    });
    const limits = Object.fromEntries(
      Object.keys(LIMITS).map((name) => [camelCase(name), flags.number(name, { max: MAX_LIMIT })]),
    );
    must(limits.headerSeconds <= limits.requestSeconds, '--header-seconds must not exceed --request-seconds');
    const uploads = uploadRules(flags.list('upload'));
    must(flags.list('read').length, '--read is missing');
    must(flags.has('s3-endpoint'), '--s3-endpoint is missing');
    const writes = flags.text('writes', /^(?:put|form)$/, 'must be put or form');
    const signers = signersIn(flags.file('credentials-file'), uploads);
    const deletable = [...signers.values()].some((one) => one.deletes.length > 0);
    must(!(writes === 'form' && deletable), '--credentials-file must give no deletes where --writes is form');
    const { credentials, bucket: objects, name: bucket, region, endpoint: upstream } = storeOf(flags, 'cdn0-gate');
    return {
      listen: flags.address('listen'),
      healthListen: flags.address('health-listen'),
      writes,
      upstream,
      bucket,
      region,
      credentials,
      objects,
      reads: flags.list('read').map((text) => keyPattern(text, 'read')),
      signers,
      deletable,
      limits,
      maxFormBytes: Math.max(0, ...[...uploads.values()].map((rule) => rule.maxBytes)) + FORM_BYTES,
    };
  });
}
