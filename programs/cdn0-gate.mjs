// CDN0 gate: the only door between the internet and the S3-compatible server that holds the public bucket.
//
// Reads: GET and HEAD of /<bucket>/<key> for keys that match a read pattern. Writes: POST of a browser-based
// upload form (Amazon S3, "Authenticating requests in browser-based uploads using POST", Signature Version 4) to
// /<bucket>/, verified here as S3 verifies it. Deletions: DELETE of
// /<bucket>/<key> with a Signature Version 4 in its headers, if the credential may delete such keys. A client's
// request is never forwarded: the gate makes a request of its own from what it has checked.
//
// An upload is stored whole or not at all. The form must have a Content-Length, and the file must be its last
// part, followed by exactly CRLF--boundary--CRLF. So the file's size is known before its first byte, and the PUT
// carries it as Content-Length; the last byte of the file is kept back until the form's end has arrived and is
// right. Whatever goes wrong before that leaves the upstream with a request whose body never became complete.
//
// The bucket is private. Reads are signed with the pod's own identity (aws.mjs), which needs s3:GetObject for the
// readable keys: without s3:ListBucket, S3 answers 403 for a missing key, and the gate 404. The configuration's `writes`
// says how an upload is stored:
// - "put": by a PUT of the gate's own identity, which owns the bucket. Only the gate knows the key pairs of those who
//   sign forms, so it offers them deletions, too;
// - "form": by a form of the gate's own with the verified fields, so S3 verifies them again, with the permissions of the
//   one who signed. Deletions are not offered: who may delete asks S3.
//
// usage: node cdn0-gate.mjs --config FILE --credentials FILE      (the forms of both: readConfig, readCredentials)

import { createHash, createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer, request as requestHttp } from 'node:http';
import { request as requestHttps } from 'node:https';
import { pipeline } from 'node:stream/promises';
import { parseArgs, TextDecoder } from 'node:util';
import { urlToHttpOptions } from 'node:url';

import {
  Bucket, codeOf, Credentials, CredentialsError, endpointOf, objectPath, sign, UNSIGNED_PAYLOAD,
} from './aws.mjs';
import { clientOf, Concurrency, Progress } from './clients.mjs';

// ---- configuration ------------------------------------------------------------------------------------------

// What `limits` of the configuration may override. Times are in seconds.
const LIMITS = {
  connections: 384, // at once; one with a stuck upload holds up to 0.8 MiB
  clientRequests: 64, // of one client at once
  forms: 128, // at once that are not authorized yet
  clientForms: 16, // the same of one client
  headerBytes: 8192,
  headerSeconds: 5, // for all request headers, which a proxy sends at once
  formSeconds: 10, // for a form's fields, which authorize it
  requestSeconds: 900, // for a whole request: 10 MiB at 12 KB/s
  bytesPerSecond: 2048, // the least that a client must send or take
  progressSeconds: 30, // in which it may do nothing
  readingSeconds: 300, // the same for one that reads: the kernel takes its bytes in steps of up to 2 MiB
  idleSeconds: 120, // between two requests; longer than the proxy in front keeps idle connections (Traefik: 90)
  upstreamSeconds: 30, // without a sign of life from the upstream
  lingerSeconds: 3, // for reading on after a refusal, so that the answer is not lost in a connection reset
  drainSeconds: 25, // for requests under way at SIGTERM
};
const FORM_BYTES = 20480; // S3's limit for a form without its file

class Misconfigured extends Error {}

// Each reader takes a value of the JSON and where it stands, and returns what the program uses, or throws.
const must = (ok, where, rule) => {
  if (!ok) throw new Misconfigured(`${where} ${rule}`);
};
const text = (pattern, rule) => (value, where) => {
  must(typeof value === 'string' && pattern.test(value), where, rule);
  return value;
};
const whole = (min, max) => (value, where) => {
  const fits = Number.isSafeInteger(value) && value >= min && value <= max;
  must(fits, where, `must be a whole number, ${min} to ${max}`);
  return value;
};
const list = (item, least = 1) => (value, where) => {
  must(Array.isArray(value) && value.length >= least, where, `must be a list of ${least} or more`);
  return value.map((one, i) => item(one, `${where}[${i}]`));
};
const entries = (value, where) => {
  must(typeof value === 'object' && value !== null && !Array.isArray(value), where, 'must be an object');
  return Object.entries(value);
};
const table = (item) => (value, where) =>
  new Map(entries(value, where).map(([name, one]) => [name, item(one, `${where}.${name}`)]));
const record = (fields, defaults = {}) => (value, where) => {
  const given = new Map([...Object.entries(defaults), ...entries(value, where)]);
  for (const name of given.keys()) must(Object.hasOwn(fields, name), `${where}.${name}`, 'is not a known setting');
  for (const name of Object.keys(fields)) must(given.has(name), `${where}.${name}`, 'is missing');
  return Object.fromEntries([...given].map(([name, one]) => [name, fields[name](one, `${where}.${name}`)]));
};
const keyPattern = (value, where) => {
  text(/./, 'must be a regular expression')(value, where);
  try {
    return new RegExp(`^(?:${value})$`);
  } catch {
    throw new Misconfigured(`${where} is not a regular expression`);
  }
};
const origin = (value, where) => {
  const url = typeof value === 'string' ? endpointOf(value) : undefined;
  must(url, where, 'must be http://host[:port], or https, without a path, user or query');
  return url;
};
const endpoint = record({ host: text(/^/, 'must be an address'), port: whole(0, 65535) }, { host: '' });
const limit = whole(1, 2_000_000); // seconds: still a valid timer in milliseconds

const readConfig = record({
  listen: endpoint, //      {"port": 8080}, and "host" to bind to one address
  health: endpoint, //      /healthz, /readyz and /metrics
  writes: text(/^(?:put|form)$/, 'must be "put" or "form"'),
  upstream: origin, //      "http://host:7070"; of S3, "https://s3.<region>.amazonaws.com"
  bucket: text(/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/, 'must be a bucket name'),
  region: text(/^[a-z0-9-]+$/, 'must be a region name'),
  reads: list(keyPattern), // whole keys, as JavaScript regular expressions
  uploads: table(record({ pattern: keyPattern, maxBytes: whole(1, 5 * 1024 ** 3) })), // by name of the rule
  limits: record(Object.fromEntries(Object.keys(LIMITS).map((name) => [name, limit])), LIMITS),
}, { limits: {} });

const rules = list(text(/./, 'must be the name of an upload rule'), 0);
const readCredentials = list(record({
  name: text(/^[\w-]+$/, 'must be a name'), // who signs, for the log
  accessKeyId: text(/^\w{3,128}$/, 'must be 3 to 128 letters, digits or underscores'),
  secretAccessKey: text(/^[!-~]{16,}$/, 'must be at least 16 printable characters'),
  uploads: rules, // names of upload rules of the configuration: keys that it may sign forms for
  deletes: rules, // the same, for keys that it may delete
}, { uploads: [], deletes: [] }));

function readJson(path, what) {
  must(path, `--${what}`, 'is missing');
  try {
    return JSON.parse(readFileSync(path, 'utf8'));
  } catch (error) {
    // The parser's own message would quote the content.
    throw new Misconfigured(`${what}: ${error.code ? `cannot read the file (${error.code})` : 'not valid JSON'}`);
  }
}

function load(paths) {
  const config = readConfig(readJson(paths.config, 'config'), 'config');
  const signers = new Map();
  for (const one of readCredentials(readJson(paths.credentials, 'credentials'), 'credentials')) {
    const where = `credentials: ${one.name}`;
    must(!signers.has(one.accessKeyId), where, 'has an access key id that another one has');
    const named = (names) => names.map((name) => {
      must(config.uploads.has(name), where, `names no rule: ${name}`);
      return config.uploads.get(name);
    });
    signers.set(one.accessKeyId, { ...one, uploads: named(one.uploads), deletes: named(one.deletes) });
  }
  const { headerSeconds, requestSeconds } = config.limits;
  must(headerSeconds <= requestSeconds, 'config.limits.headerSeconds', 'must not exceed requestSeconds');
  const deletable = [...signers.values()].some((one) => one.deletes.length > 0);
  must(!(config.writes === 'form' && deletable), 'credentials', 'must give no deletes where writes are "form"');
  const largest = Math.max(0, ...[...config.uploads.values()].map((rule) => rule.maxBytes));
  return { ...config, signers, deletable, ...own(config), maxFormBytes: largest + FORM_BYTES };
}

// The pod's own identity, and the bucket as it reads it.
function own({ bucket: name, region, upstream: endpoint }) {
  const report = ({ message }) => log({ event: 'credentials', error: message });
  try {
    const credentials = new Credentials({ region, session: 'cdn0-gate', report });
    return { credentials, objects: new Bucket({ name, region, endpoint, credentials }) };
  } catch (error) {
    if (error instanceof CredentialsError) throw new Misconfigured(error.message);
    throw error;
  }
}

// ---- refusals -----------------------------------------------------------------------------------------------

const STATUS = { // codes of S3's error responses
  EntityTooSmall: 400, InvalidArgument: 400, InvalidPolicyDocument: 400, InvalidRequest: 400,
  MalformedPOSTRequest: 400,
  AccessDenied: 403, InvalidAccessKeyId: 403, RequestTimeTooSkewed: 403, SignatureDoesNotMatch: 403,
  NoSuchKey: 404, MethodNotAllowed: 405, RequestTimeout: 408, MissingContentLength: 411,
  PreconditionFailed: 412, EntityTooLarge: 413, InvalidRange: 416,
  InternalError: 500, ServiceUnavailable: 502, SlowDown: 503,
};

// An answer other than success. The message holds nothing that came from the client or from the upstream.
class Refusal extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
    this.status = STATUS[code];
  }
}

const insist = (ok, code, message) => {
  if (!ok) throw new Refusal(code, message);
};
const wellFormed = (ok, message) => insist(ok, 'MalformedPOSTRequest', message);
const allowed = (ok, message) => insist(ok, 'AccessDenied', message);

// ---- keys ---------------------------------------------------------------------------------------------------

// Whatever the patterns of the configuration say: characters that mean the same in every encoding of a path, and
// no empty, `.` or `..` segment.
const SEGMENT = /^(?!\.{1,2}$)[A-Za-z0-9._=-]+$/;
const isSafe = (key) => key.length <= 1024 && key.split('/').every((segment) => SEGMENT.test(segment));

// The key that a request's target names, if it lies in the bucket and is safe; nothing otherwise.
function keyOf(config, target) {
  const key = target.startsWith(`/${config.bucket}/`) && target.slice(config.bucket.length + 2);
  return key && isSafe(key) ? key : undefined;
}

// ---- the upload form ----------------------------------------------------------------------------------------

const BOUNDARY = /^multipart\/form-data; ?boundary=(?:"([\w'()+,./:=?-]{1,70})"|([\w'+.-]{1,70}))$/i;

// The boundary in a multipart/form-data Content-Type: RFC 2046's characters, quoted or not; no other parameter.
function boundaryOf(values) {
  const found = values?.length === 1 && BOUNDARY.exec(values[0]);
  wellFormed(found, 'The Content-Type must be multipart/form-data with one boundary.');
  return found[1] ?? found[2];
}

const DISPOSITION = /^form-data; name="([A-Za-z0-9-]{1,64})"(; filename="[^"\\\x00-\x1f\x7f]{0,255}")?$/;
const PART_HEADERS = new Map([
  ['content-disposition', DISPOSITION], ['content-type', /^[ -~]+$/],
  ['content-length', /^\d{1,15}$/], ['content-transfer-encoding', /^(?:binary|8bit)$/i],
]);

function partHeaders(block) {
  const headers = new Map();
  for (const line of block.split('\r\n')) {
    const [, name, value] = /^([A-Za-z-]+): ?(.*)$/.exec(line) ?? [];
    const known = name && PART_HEADERS.get(name.toLowerCase())?.test(value) && !headers.has(name.toLowerCase());
    wellFormed(known, 'A part of the form has a header that is not understood.');
    headers.set(name.toLowerCase(), value);
  }
  wellFormed(headers.has('content-disposition'), 'A part of the form has no name.');
  const [, name, filename] = DISPOSITION.exec(headers.get('content-disposition'));
  return { name: name.toLowerCase(), filename, length: headers.get('content-length') };
}

// Everything of a form up to the first byte of its file. Holds at most FORM_BYTES and one chunk.
class FormHead {
  fields = new Map(); // by lower-case name: S3 does not distinguish
  #buffer = Buffer.alloc(0);
  #at = 0;
  #open;
  #close;

  constructor(boundary) {
    this.#open = Buffer.from(`--${boundary}\r\n`);
    this.#close = Buffer.from(`\r\n--${boundary}`);
  }

  // Takes one more chunk. Once the file begins, `rest` is what there is of it, `size` is how much came before, and
  // `declared` is the part's own Content-Length, if any.
  push(chunk) {
    this.#buffer = Buffer.concat([this.#buffer, chunk]);
    while (this.#part());
    this.size = this.#at;
    const held = this.rest ? this.size : this.#buffer.length;
    wellFormed(held <= FORM_BYTES, 'The form without its file is too long.');
  }

  // Reads the part that begins at #at; false if it is the file or not yet complete.
  #part() {
    const start = this.#at + this.#open.length;
    const prefix = this.#buffer.subarray(this.#at, start);
    const opens = prefix.equals(this.#open.subarray(0, prefix.length));
    wellFormed(opens, 'The form must be parts, and the last one the file.');
    const end = this.#buffer.indexOf('\r\n\r\n', start - 2);
    if (end === -1) return false;
    const part = partHeaders(this.#buffer.toString('latin1', start, end));
    if (part.name === 'file') {
      this.#at = end + 4;
      this.rest = this.#buffer.subarray(this.#at);
      this.declared = part.length;
      return false;
    }
    const valueEnd = this.#buffer.indexOf(this.#close, end + 4);
    if (valueEnd === -1) return false;
    const value = this.#buffer.toString('latin1', end + 4, valueEnd);
    const plain = /^[ -~]*$/.test(value) && !part.filename && [undefined, `${value.length}`].includes(part.length);
    wellFormed(plain && !this.fields.has(part.name), 'A field of the form is repeated or not plain text.');
    this.fields.set(part.name, value);
    this.#at = valueEnd + 2;
    return true;
  }
}

// ---- signatures ---------------------------------------------------------------------------------------------

const hmac = (key, data) => createHmac('sha256', key).update(data).digest();

// The instant of an ISO 8601 date and time in UTC, in milliseconds, or NaN. Java prints 0, 3, 6 or 9 decimals.
function instant(value) {
  const [, seconds, fraction = ''] = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d{1,9})?Z$/.exec(value) ?? [];
  const at = seconds ? Date.parse(`${seconds}Z`) : NaN;
  const real = !Number.isNaN(at) && new Date(at).toISOString().startsWith(seconds); // no 30 February
  return real ? at + Number(`0${fraction}`) * 1000 : NaN;
}

// The same of an x-amz-date.
function signedAt(date) {
  const at = instant(date.replace(/^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\dZ)$/, '$1-$2-$3T$4:$5:$6'));
  insist(/^\d{8}T/.test(date) && !Number.isNaN(at), 'InvalidArgument', 'The date is malformed.');
  return at;
}

// The credential that `text` was signed with on the day of `date`, for our region and service.
function signerOf(config, credential, date, signature, text) {
  const [id, ...scope] = credential.split('/');
  const expected = [date.slice(0, 8), config.region, 's3', 'aws4_request'];
  insist(scope.join('/') === expected.join('/'), 'InvalidArgument', 'The scope of the credential is wrong.');
  const signer = config.signers.get(id);
  insist(signer, 'InvalidAccessKeyId', 'The access key is not known.');
  const key = expected.reduce((parent, part) => hmac(parent, part), `AWS4${signer.secretAccessKey}`);
  const given = Buffer.from(/^[0-9a-f]{64}$/.test(signature) ? signature : '', 'hex');
  const equal = given.length === 32 && timingSafeEqual(given, hmac(key, text));
  insist(equal, 'SignatureDoesNotMatch', 'The signature does not match.');
  return signer;
}

// ---- the POST policy ----------------------------------------------------------------------------------------

const REQUIRED = ['key', 'acl', 'policy', 'x-amz-algorithm', 'x-amz-credential', 'x-amz-date', 'x-amz-signature'];
const FIELDS = new Set([...REQUIRED, 'content-type']);
const UNSIGNED = new Set(['policy', 'x-amz-signature']);
const MEDIA_TYPE = /^[\w!#$&^.+-]+\/[\w!#$&^.+-]+(?:;[ -~]*)?$/;

function parsePolicy(encoded) {
  const bytes = Buffer.from(encoded, 'base64');
  try {
    const policy = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
    const { expiration, conditions, ...more } = policy;
    const formed = isText(expiration) && Array.isArray(conditions) && Object.keys(more).length === 0;
    if (formed && bytes.toString('base64') === encoded) return policy;
  } catch { /* one answer for every kind of malformed policy: */ }
  throw new Refusal('InvalidPolicyDocument', 'The policy is malformed.');
}

const isText = (value) => typeof value === 'string';
const isSize = (value) => Number.isSafeInteger(value) && value >= 0;

// A condition as [operator, field, value] or ['content-length-range', min, max]; {"field": "value"} means eq.
function normalise(condition) {
  const members = Array.isArray(condition)
    ? condition : Object.entries(condition ?? {}).flatMap(([name, value]) => ['eq', `$${name}`, value]);
  const [operator, left, right] = members;
  const range = operator === 'content-length-range' && isSize(left) && isSize(right);
  const match = ['eq', 'starts-with'].includes(operator) && isText(left) && left.startsWith('$') && isText(right);
  const known = members.length === 3 && (range || match);
  insist(known, 'InvalidPolicyDocument', 'The policy has a condition that is not understood.');
  return range ? members : [operator, left.slice(1).toLowerCase(), right];
}

// Checks every condition of the policy against the form; the range of sizes that it allows.
function satisfy(conditions, form, bucket) {
  const values = new Map([...form, ['bucket', bucket]]);
  const covered = new Set(UNSIGNED);
  const exact = new Set();
  let [min, max] = [1, Infinity];
  for (const [operator, left, right] of conditions.map(normalise)) {
    if (operator === 'content-length-range') {
      [min, max] = [Math.max(min, left), Math.min(max, right)];
      continue;
    }
    const value = values.get(left);
    const holds = value !== undefined && (operator === 'eq' ? value === right : value.startsWith(right));
    allowed(holds, 'Invalid according to Policy: a condition failed.');
    covered.add(left);
    if (operator === 'eq') exact.add(left);
  }
  const extra = [...form.keys()].some((name) => !covered.has(name));
  allowed(!extra, 'Invalid according to Policy: extra input fields.');
  const bound = ['bucket', 'key', 'acl'].every((name) => exact.has(name)) && Number.isFinite(max);
  allowed(bound, 'The policy must fix bucket, key, acl and a range of sizes.');
  return { min, max };
}

// What the form allows to store: { signer, key, contentType }. Throws the Refusal that S3 would answer with.
function authorize(config, form, size, now) {
  allowed(REQUIRED.every((name) => form.has(name)), 'The form lacks a field.');
  allowed([...form.keys()].every((name) => FIELDS.has(name)), 'The form has a field that is not supported.');
  const [algorithm, credential, date, signature] = REQUIRED.slice(3).map((name) => form.get(name));
  insist(algorithm === 'AWS4-HMAC-SHA256', 'InvalidArgument', 'The algorithm is not AWS4-HMAC-SHA256.');
  signedAt(date);
  const signer = signerOf(config, credential, date, signature, form.get('policy'));
  const policy = parsePolicy(form.get('policy'));
  const expires = instant(policy.expiration);
  insist(!Number.isNaN(expires), 'InvalidPolicyDocument', 'The expiration is malformed.');
  allowed(now < expires, 'Invalid according to Policy: Policy expired.');
  const { min, max } = satisfy(policy.conditions, form, config.bucket);
  allowed(form.get('acl') === 'private', 'The only ACL is private.');
  const key = form.get('key');
  const rule = isSafe(key) && signer.uploads.find(({ pattern }) => pattern.test(key));
  allowed(rule, 'The access key may not upload this key.');
  insist(size >= min, 'EntityTooSmall', 'The file is smaller than the policy allows.');
  insist(size <= Math.min(max, rule.maxBytes), 'EntityTooLarge', 'The file is larger than allowed.');
  const contentType = form.get('content-type') || 'application/octet-stream';
  const legal = contentType.length <= 255 && MEDIA_TYPE.test(contentType);
  insist(legal, 'InvalidArgument', 'The Content-Type is not a media type.');
  return { signer: signer.name, key, contentType, fields: form };
}

// ---- one request and its answer -----------------------------------------------------------------------------

const movedOn = ({ bytesRead, bytesWritten, writableLength }) => bytesRead + bytesWritten - writableLength;

class Exchange {
  constructor(gate, req, res) {
    const { bytesPerSecond: rate, progressSeconds, readingSeconds } = gate.config.limits;
    const grace = progressSeconds * 1000;
    const most = req.method === 'POST' ? grace : Math.max(grace, readingSeconds * 1000);
    const started = Date.now();
    const progress = new Progress({ rate, grace, most }, started);
    Object.assign(this, { req, res, started, progress, moved: movedOn(req.socket), deadline: Infinity, bytes: 0 });
    this.controller = new AbortController();
    this.signal = this.controller.signal;
    const gone = () => this.abort(new Refusal('RequestTimeout', 'The client has gone.'));
    if (req.socket.destroyed) gone();
    req.on('error', gone);
    res.on('error', gone).on('close', () => res.writableFinished || gone());
  }

  // Ends everything that this exchange does; the first reason counts.
  abort(reason) {
    this.controller.abort(reason);
  }

  // The next bytes of the request's body. Only called while the announced length is not reached.
  async read() {
    for (;;) {
      this.signal.throwIfAborted();
      const chunk = this.req.read();
      if (chunk) return chunk;
      await once(this.req, 'readable', { signal: this.signal });
    }
  }

  // Waits for the upstream's event; meanwhile the client need not make progress.
  async upstream(emitter, event) {
    const [value] = await this.patiently(once(emitter, event, { signal: this.signal }));
    return value;
  }

  // The same for whatever the upstream does.
  async patiently(promise) {
    this.waitingSince = Date.now();
    const value = await promise;
    this.progress.pause(Date.now() - this.waitingSince);
    this.waitingSince = undefined;
    return value;
  }

  // Called every second: aborts when the one whose turn it is has done too little for too long.
  check(limits, now) {
    const moved = movedOn(this.req.socket);
    this.progress.moved(moved - this.moved, now);
    this.moved = moved;
    if (this.waitingSince) {
      const silent = now - this.waitingSince > limits.upstreamSeconds * 1000;
      if (silent) this.abort(new Refusal('ServiceUnavailable', 'The upstream is silent.'));
    } else if (now > this.deadline) {
      this.abort(new Refusal('RequestTimeout', 'The fields of the form took too long.'));
    } else if (this.progress.late(now)) {
      this.abort(new Refusal('RequestTimeout', 'The client is too slow.'));
    }
  }
}

const isBodyless = ({ headers }) =>
  !headers['transfer-encoding'] && ['0', undefined].includes(headers['content-length']);

// A request of the gate's own, on a connection of its own: no reuse, so no request meets a connection half closed.
function ask(gate, exchange, method, path, headers) {
  const { upstream } = gate.config;
  const request = upstream.protocol === 'https:' ? requestHttps : requestHttp;
  const target = { ...urlToHttpOptions(upstream), path };
  const outgoing = request({ ...target, method, headers, agent: false, signal: exchange.signal });
  return outgoing.on('error', () => exchange.abort(new Refusal('ServiceUnavailable', 'The upstream failed.')));
}

// ---- reads --------------------------------------------------------------------------------------------------

// Request headers that are copied, if well-formed. Others of these names are ignored, as RFC 9110 allows.
const ETAGS = /^(?:\*|(?:W\/)?"[!#-~]*"(?:, ?(?:W\/)?"[!#-~]*")*)$/;
const HTTP_DATE = /^[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT$/;
const COPIED_IN = new Map([
  ['range', /^bytes=(?:\d{1,15}-\d{0,15}|-\d{1,15})$/], ['if-match', ETAGS], ['if-none-match', ETAGS],
  ['if-modified-since', HTTP_DATE], ['if-unmodified-since', HTTP_DATE],
  ['if-range', new RegExp(`^"[!#-~]*"$|${HTTP_DATE.source}`)],
]);
const COPIED_OUT = [
  'content-type', 'content-length', 'etag', 'last-modified', 'content-range', 'accept-ranges', 'cache-control',
];
// Objects are opaque bytes of anybody: no browser may sniff, run, frame or show them under this domain.
const PROTECTION = {
  'X-Content-Type-Options': 'nosniff',
  'Content-Security-Policy': "default-src 'none'; frame-ancestors 'none'; sandbox",
};

// S3 does not document If-Range: with it, the answer is the whole object, which RFC 9110 (14.2) always allows.
async function readObject(gate, exchange, key, { 'if-range': only, range, ...headers }) {
  if (range && !only) headers.range = range;
  const { method } = exchange.req;
  const answer = await signedRead(gate, exchange, method, key, headers);
  const { statusCode: status } = answer;
  if ([200, 206, 304, 404, 412, 416].includes(status)) return answer;
  // Only a body tells whether the key is missing or something is wrong with the identity.
  const told = method === 'HEAD' ? await signedRead(gate, exchange, 'GET', key, { range: 'bytes=0-0' }) : answer;
  const [code] = await exchange.patiently(codeOf(told));
  const mayBeMissing = gate.config.writes === 'form' && status === 403 && code === 'AccessDenied';
  insist(!mayBeMissing, 'NoSuchKey', 'There is no such object.');
  exchange.upstreamCode = code ?? `${status}`;
  throw new Refusal('ServiceUnavailable', 'The upstream failed.');
}

const signedRead = (gate, exchange, method, key, headers) =>
  ofUpstream(exchange, gate.config.objects.read(method, key, headers, exchange.signal));

// What the upstream, or who gives the gate its identity, makes of a promise; a failure is the upstream's.
async function ofUpstream(exchange, promise) {
  try {
    return await exchange.patiently(promise);
  } catch (error) {
    exchange.signal.throwIfAborted();
    exchange.upstreamCode = error instanceof CredentialsError ? error.message : error.code;
    throw new Refusal('ServiceUnavailable', 'The upstream failed.');
  }
}

async function download(gate, exchange) {
  const { req, res } = exchange;
  const key = keyOf(gate.config, req.url);
  insist(key && gate.config.reads.some((pattern) => pattern.test(key)), 'NoSuchKey', 'There is no such object.');
  insist(isBodyless(req), 'InvalidRequest', 'A read has no body.');
  const headers = {};
  for (const [name, form] of COPIED_IN) if (form.test(req.headers[name] ?? '')) headers[name] = req.headers[name];
  const answer = await readObject(gate, exchange, key, headers);
  const status = answer.statusCode;
  insist(![403, 404].includes(status), 'NoSuchKey', 'There is no such object.');
  insist(status !== 412, 'PreconditionFailed', 'A precondition does not hold.');
  insist(status !== 416, 'InvalidRange', 'The range cannot be satisfied.');
  insist([200, 206, 304].includes(status), 'ServiceUnavailable', 'The upstream failed.');
  for (const name of COPIED_OUT) if (answer.headers[name]) res.setHeader(name, answer.headers[name]);
  if (status === 304) res.removeHeader('content-length'); // 0 there would be the length of the object
  res.writeHead(status, { ...PROTECTION, 'Content-Disposition': 'attachment' });
  await pipeline(answer, res, { signal: exchange.signal });
}

// ---- uploads ------------------------------------------------------------------------------------------------

// Everything of a form up to its file. A stranger can send this much, so it has a deadline, and few may be under way.
async function headOf(gate, exchange, boundary, length) {
  const leave = gate.forms.enter(exchange.client);
  insist(leave, 'SlowDown', 'Too many forms are not complete up to their file.');
  exchange.deadline = exchange.started + gate.config.limits.formSeconds * 1000;
  try {
    const head = new FormHead(boundary);
    for (let got = 0; !head.rest && got < length;) {
      const chunk = await exchange.read();
      got += chunk.length;
      head.push(chunk);
    }
    return head;
  } finally {
    exchange.deadline = Infinity;
    leave();
  }
}

async function upload(gate, exchange) {
  const { req, res } = exchange;
  const { headers } = req;
  const counted = headers['content-length'] && !headers['transfer-encoding'];
  insist(counted, 'MissingContentLength', 'The Content-Length is missing.');
  const length = Number(headers['content-length']);
  insist(length <= gate.config.maxFormBytes, 'EntityTooLarge', 'The form is larger than any upload may be.');
  insist(!headers['content-encoding'], 'InvalidRequest', 'The form must not be encoded.');
  const boundary = boundaryOf(req.headersDistinct['content-type']);
  const trailer = Buffer.from(`\r\n--${boundary}--\r\n`);
  if (exchange.expects === 'continue') res.writeContinue();

  const head = await headOf(gate, exchange, boundary, length);
  wellFormed(head.rest, 'The form has no file.');
  const size = length - head.size - trailer.length;
  wellFormed(size >= 0 && [undefined, `${size}`].includes(head.declared), 'The form does not end after its file.');
  const allows = authorize(gate.config, head.fields, size, Date.now());
  Object.assign(exchange, { signer: allows.signer, bytes: size });
  const task = await (gate.config.writes === 'put' ? putTask : formTask)(gate, exchange, allows, size);
  const etag = await store(gate, exchange, task, size, head.rest, trailer);
  res.writeHead(204, { ...PROTECTION, ...(etag && { ETag: etag }) }).end();
}

const NOT_STORED = new Refusal('ServiceUnavailable', 'The upstream did not store the file.');

// How an upload is stored: the request, and what stands before and after the file in its body.
async function putTask(gate, exchange, { key, contentType }, size) {
  const about = { 'Content-Type': contentType, 'Content-Length': size };
  return {
    ...await signedByGate(gate, exchange, 'PUT', key, { payload: UNSIGNED_PAYLOAD, headers: about }),
    after: Buffer.alloc(0),
    stored: 200,
    refused,
  };
}

// A request for an object in the name of the gate's own identity; `more` as of sign().
async function signedByGate(gate, exchange, method, key, more = {}) {
  const { bucket, region, upstream: { host } } = gate.config;
  const credentials = await ofUpstream(exchange, gate.config.credentials.get());
  const path = objectPath(bucket, key);
  return { method, path, headers: sign({ method, host, path, region, credentials, ...more }) };
}

// The same fields and the file in a form of our own making. The fields are plain text of one line each.
function formTask({ config }, exchange, { fields }, size) {
  const boundary = `cdn0-${randomBytes(24).toString('hex')}`;
  const part = (name, rest) => `--${boundary}\r\nContent-Disposition: form-data; name="${name}"${rest}\r\n`;
  const spelt = (name) => (name === 'content-type' ? 'Content-Type' : name); // as in S3's documentation
  const text = [...fields].map(([name, value]) => part(spelt(name), `\r\n\r\n${value}`)).join('');
  const before = Buffer.from(`${text}${part('file', '; filename="file"')}\r\n`, 'latin1');
  const after = Buffer.from(`\r\n--${boundary}--\r\n`);
  const type = `multipart/form-data; boundary=${boundary}`;
  const headers = { 'Content-Type': type, 'Content-Length': before.length + size + after.length };
  return { method: 'POST', path: `/${config.bucket}`, headers, before, after, stored: 204, refused: refusedForm };
}

// The Refusal for what the upstream has against an upload, though the gate had nothing.
async function refused(exchange, answer) {
  const [code] = await codeOf(answer);
  exchange.upstreamCode = code ?? `${answer.statusCode}`;
  return NOT_STORED;
}

// The same of a form, where a 403 is about the one who signed it.
async function refusedForm(exchange, answer) {
  const failure = await refused(exchange, answer);
  return answer.statusCode === 403 ? new Refusal('AccessDenied', 'The upstream refused the upload.') : failure;
}

async function store(gate, exchange, task, size, first, trailer) {
  const outgoing = ask(gate, exchange, task.method, task.path, task.headers);
  outgoing.once('response', async (answer) => {
    if (!outgoing.writableEnded) exchange.abort(await task.refused(exchange, answer).catch(() => NOT_STORED));
  });
  if (task.before) outgoing.write(task.before);
  const delimiter = trailer.subarray(0, -4);
  let last = Buffer.alloc(0); // the final byte of the file
  let tail = Buffer.alloc(0); // the newest bytes, as many as the trailer has
  for (let at = 0, chunk = first; ; chunk = await exchange.read()) {
    const seam = Buffer.concat([tail, chunk.subarray(0, trailer.length)]); // two chunks may share a delimiter
    const early = [[seam, at - tail.length], [chunk, at]].some(([bytes, start]) => {
      const found = bytes.indexOf(delimiter);
      return found !== -1 && start + found < size;
    });
    wellFormed(!early, 'The file must be the last part of the form.');
    const piece = chunk.subarray(0, Math.max(0, size - 1 - at));
    last = Buffer.concat([last, chunk.subarray(piece.length, Math.max(0, size - at))]);
    tail = Buffer.concat([tail, chunk.subarray(-trailer.length)]).subarray(-trailer.length);
    at += chunk.length;
    if (piece.length > 0 && !outgoing.write(piece)) await exchange.upstream(outgoing, 'drain');
    if (at === size + trailer.length) break;
  }
  wellFormed(tail.equals(trailer), 'The form does not end after its file.');
  outgoing.end(Buffer.concat([last, task.after]));
  const answer = await exchange.upstream(outgoing, 'response');
  if (answer.statusCode !== task.stored) throw await exchange.patiently(task.refused(exchange, answer));
  answer.resume();
  return answer.headers.etag;
}

// ---- deletions ----------------------------------------------------------------------------------------------

const SIGNED = /^AWS4-HMAC-SHA256 Credential=([^ ,]+), ?SignedHeaders=([a-z0-9;-]+), ?Signature=([0-9a-f]{64})$/;
const MAX_SKEW = 15 * 60 * 1000; // S3's, in milliseconds

// The credential that signed a bodyless request in its headers, as "Signature Calculations for the Authorization
// Header" tells. The one character of a key that the canonical path encodes is the equals sign.
function requesterOf(config, req, key, now) {
  const [, credential, names, signature] = SIGNED.exec(req.headers.authorization ?? '') ?? [];
  allowed(signature, 'The request is not signed.');
  const signed = names.split(';');
  const own = Object.keys(req.headers).filter((name) => name === 'host' || name.startsWith('x-amz-'));
  const covers = [...own, 'x-amz-date', 'x-amz-content-sha256'].every((name) => signed.includes(name));
  const single = signed.every((name) => req.headersDistinct[name]?.length === 1);
  allowed(covers && single, 'A header is not signed, or not there once.');
  const date = req.headers['x-amz-date'];
  insist(Math.abs(now - signedAt(date)) <= MAX_SKEW, 'RequestTimeTooSkewed', 'The date is too far from the time.');
  const path = `/${config.bucket}/${key}`.replaceAll('=', '%3D');
  const headers = signed.map((name) => `${name}:${req.headers[name].trim().replace(/ +/g, ' ')}\n`).join('');
  const request = [req.method, path, '', headers, names, req.headers['x-amz-content-sha256']].join('\n');
  const digest = createHash('sha256').update(request).digest('hex');
  const scope = credential.split('/').slice(1).join('/');
  return signerOf(config, credential, date, signature, ['AWS4-HMAC-SHA256', date, scope, digest].join('\n'));
}

async function erase(gate, exchange) {
  const { req, res } = exchange;
  const key = keyOf(gate.config, req.url.replaceAll('%3D', '='));
  insist(key && gate.config.deletable, 'MethodNotAllowed', 'The method is not allowed on this resource.');
  insist(isBodyless(req), 'InvalidRequest', 'A deletion has no body.');
  const signer = requesterOf(gate.config, req, key, Date.now());
  exchange.signer = signer.name;
  allowed(signer.deletes.some(({ pattern }) => pattern.test(key)), 'The access key may not delete this key.');
  const { method, path, headers } = await signedByGate(gate, exchange, 'DELETE', key);
  const outgoing = ask(gate, exchange, method, path, headers);
  outgoing.end();
  const answer = await exchange.upstream(outgoing, 'response');
  answer.resume();
  insist([204, 404].includes(answer.statusCode), 'ServiceUnavailable', 'The upstream failed.');
  res.writeHead(204, PROTECTION).end();
}

// ---- the server ---------------------------------------------------------------------------------------------

const log = (event) => process.stdout.write(`${JSON.stringify({ time: new Date().toISOString(), ...event })}\n`);

function dispatch(gate, exchange) {
  const { method, url, headers } = exchange.req;
  insist(exchange.expects !== 'more', 'InvalidRequest', 'The only expectation that can be met is 100-continue.');
  insist(!headers.upgrade, 'InvalidRequest', 'There is nothing to upgrade to.');
  if (method === 'GET' || method === 'HEAD') return download(gate, exchange);
  if (method === 'DELETE') return erase(gate, exchange);
  const form = method === 'POST' && [`/${gate.config.bucket}`, `/${gate.config.bucket}/`].includes(url);
  insist(form, 'MethodNotAllowed', 'The method is not allowed on this resource.');
  return upload(gate, exchange);
}

async function refuse(gate, exchange, thrown) {
  const { req, res, signal } = exchange;
  let refusal = signal.aborted ? signal.reason : thrown;
  if (!(refusal instanceof Refusal)) {
    log({ event: 'error', error: `${refusal?.stack}` });
    refusal = new Refusal('InternalError', 'The gate failed.');
  }
  exchange.code = refusal.code;
  exchange.abort(refusal); // ends the request to the upstream
  if (res.headersSent || res.destroyed) return void res.destroy();
  const error = `<Error><Code>${refusal.code}</Code><Message>${refusal.message}</Message></Error>`;
  const body = Buffer.from(`<?xml version="1.0" encoding="UTF-8"?>\n${error}\n`);
  for (const name of res.getHeaderNames()) if (name !== 'connection') res.removeHeader(name);
  if (!req.complete) res.setHeader('Connection', 'close');
  if (refusal.status === 405) res.setHeader('Allow', 'GET, HEAD, POST');
  const about = { 'Content-Type': 'application/xml', 'Content-Length': body.length, 'Cache-Control': 'no-store' };
  res.writeHead(refusal.status, { ...PROTECTION, ...about });
  res.write(body);
  if (!req.complete) {
    const enough = AbortSignal.timeout(gate.config.limits.lingerSeconds * 1000);
    await once(req.resume(), 'end', { signal: enough }).catch(() => {}); // then the connection closes, read or not
  }
  res.end();
}

// Requests on one connection are answered one after the other; a client that sends many ahead is dropped.
const MAX_PIPELINED = 8;

async function serve(gate, req, res, expects) {
  const { socket } = req;
  const line = gate.lines.get(socket) ?? { waiting: 0, turn: Promise.resolve() };
  gate.lines.set(socket, line);
  if (++line.waiting > MAX_PIPELINED) return void socket.destroy();
  const before = line.turn;
  const { promise, resolve } = Promise.withResolvers();
  line.turn = promise;
  await before;
  const client = clientOf(req);
  const exchange = Object.assign(new Exchange(gate, req, res), { expects, client });
  const leave = gate.requests.enter(client);
  gate.exchanges.add(exchange);
  if (gate.draining) res.setHeader('Connection', 'close');
  try {
    insist(leave, 'SlowDown', 'Too many requests of this client are under way.');
    await dispatch(gate, exchange);
  } catch (error) {
    await refuse(gate, exchange, error);
  } finally {
    leave?.();
    gate.exchanges.delete(exchange);
    line.waiting -= 1;
    resolve();
    account(gate, exchange);
  }
}

// Counts every request; logs changes and failures. Keys are not logged: knowing one is all that a read needs.
function account(gate, { req, res, started, signer, bytes, code, upstreamCode: upstream }) {
  const method = ['GET', 'HEAD', 'POST', 'DELETE'].includes(req.method) ? req.method : 'other';
  const status = res.headersSent ? res.statusCode : 499; // nginx's number for a client that left without an answer
  const label = `method="${method}",status="${status}"`;
  gate.counts.set(label, (gate.counts.get(label) ?? 0) + 1);
  const ms = Date.now() - started;
  const notable = ['POST', 'DELETE'].includes(method) || status >= 500;
  if (notable) log({ event: 'request', method, status, code, upstream, signer, bytes, ms });
}

const metrics = (gate) => [
  '# TYPE cdn0_gate_requests_total counter',
  ...[...gate.counts].map(([label, n]) => `cdn0_gate_requests_total{${label}} ${n}`),
  '# TYPE cdn0_gate_requests_active gauge',
  `cdn0_gate_requests_active ${gate.exchanges.size}`,
  '# TYPE cdn0_gate_forms_unauthorized gauge',
  `cdn0_gate_forms_unauthorized ${gate.forms.active}`,
  '# TYPE cdn0_gate_connections_refused_total counter',
  `cdn0_gate_connections_refused_total ${gate.dropped}\n`,
].join('\n');

// Readiness does not ask the upstream: a gate that answers 502 says more than one that is taken out of service. But a
// gate that never had credentials of its own is not ready.
function health(gate, req, res) {
  const { credentials } = gate.config;
  const lacks = credentials && !credentials.obtained && 'no credentials\n';
  const unready = gate.draining ? 'draining\n' : lacks;
  const answers = {
    '/healthz': [200, 'ok\n'],
    '/readyz': unready ? [503, unready] : [200, 'ok\n'],
    '/metrics': [200, metrics(gate)],
  };
  const found = ['GET', 'HEAD'].includes(req.method) && Object.hasOwn(answers, req.url);
  const [status, body] = found ? answers[req.url] : [404, 'not found\n'];
  res.writeHead(status, { 'Content-Type': 'text/plain; version=0.0.4' }).end(body);
}

async function main() {
  const { values } = parseArgs({ options: { config: { type: 'string' }, credentials: { type: 'string' } } });
  const config = load(values);
  const { limits } = config;
  const counters = { counts: new Map(), dropped: 0 };
  const requests = new Concurrency({ total: limits.connections, perClient: limits.clientRequests });
  const forms = new Concurrency({ total: limits.forms, perClient: limits.clientForms });
  const gate = { config, requests, forms, exchanges: new Set(), lines: new WeakMap(), draining: false, ...counters };
  const server = createServer({
    maxHeaderSize: limits.headerBytes,
    headersTimeout: limits.headerSeconds * 1000,
    requestTimeout: limits.requestSeconds * 1000,
    keepAliveTimeout: limits.idleSeconds * 1000,
    connectionsCheckingInterval: 1000,
  });
  server.maxConnections = limits.connections;
  const take = (expects) => (req, res) => serve(gate, req, res, expects).catch((error) => {
    log({ event: 'error', error: error.stack });
    req.socket.destroy();
  });
  server.on('request', take('nothing')).on('checkContinue', take('continue')).on('checkExpectation', take('more'));
  server.on('drop', () => { gate.dropped += 1; });
  const probes = createServer((req, res) => health(gate, req, res));
  const start = (one, { host, port }) => once(one.listen({ port, host: host || undefined }), 'listening');
  await Promise.all([start(probes, config.health), start(server, config.listen)]);
  log({ event: 'listening', port: server.address().port, health: probes.address().port });
  config.credentials?.obtain();

  const watch = setInterval(() => {
    for (const exchange of gate.exchanges) exchange.check(limits, Date.now());
    if (gate.draining) server.closeIdleConnections();
  }, 1000);
  const stop = () => {
    if (gate.draining) return;
    gate.draining = true;
    log({ event: 'draining', active: gate.exchanges.size });
    for (const { res } of gate.exchanges) if (!res.headersSent) res.setHeader('Connection', 'close');
    server.close(() => {
      clearInterval(watch);
      probes.close();
      probes.closeAllConnections();
      log({ event: 'stopped' });
    });
    setTimeout(() => server.closeAllConnections(), limits.drainSeconds * 1000).unref();
  };
  process.on('SIGTERM', stop).on('SIGINT', stop);
}

main().catch((error) => {
  const known = error instanceof Misconfigured || /^ERR_PARSE_ARGS/.test(error.code) || error.syscall;
  process.stderr.write(`cdn0-gate: ${known ? error.message.split('\n')[0] : error.stack}\n`);
  process.exit(1);
});
