/** Who signed what: the POST policy of an upload, and the headers of a deletion, verified as S3 verifies them. */
import { timingSafeEqual } from 'node:crypto';

import { scopeOf, signatureOf, textToSign } from '../lib/aws.mjs';
import { isSafe } from './keys.mjs';
import { allowed, insist, Refusal } from './refusal.mjs';

// --- signatures ------------------------------------------------------------------------------------------------

/** The instant of an ISO 8601 date and time in UTC, in milliseconds, or NaN. Java prints 0, 3, 6 or 9 decimals. */
function instant(value) {
  const [, seconds, fraction = ''] = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d{1,9})?Z$/.exec(value) ?? [];
  const at = seconds ? Date.parse(`${seconds}Z`) : NaN;
  const real = !Number.isNaN(at) && new Date(at).toISOString().startsWith(seconds); // no 30 February
  return real ? at + Number(`0${fraction}`) * 1000 : NaN;
}

/** The same of an x-amz-date. */
function signedAt(date) {
  const at = instant(date.replace(/^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\dZ)$/, '$1-$2-$3T$4:$5:$6'));
  insist(/^\d{8}T/.test(date) && !Number.isNaN(at), 'InvalidArgument', 'The date is malformed.');
  return at;
}

/**
 * The signer of a text on the day of `date`, for our region and service.
 */
function signerOf(config, credential, date, signature, text) {
  const [id, ...scope] = credential.split('/');
  const expected = scopeOf(date, config.region, 's3');
  insist(scope.join('/') === expected.join('/'), 'InvalidArgument', 'The scope of the credential is wrong.');
  const signer = config.signers.get(id);
  insist(signer, 'InvalidAccessKeyId', 'The access key is not known.');
  const given = Buffer.from(/^[0-9a-f]{64}$/.test(signature) ? signature : '', 'hex');
  const equal = given.length === 32 && timingSafeEqual(given, signatureOf(signer.secretAccessKey, expected, text));
  insist(equal, 'SignatureDoesNotMatch', 'The signature does not match.');
  return signer;
}

// --- the POST policy -------------------------------------------------------------------------------------------

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
  } catch {
    /* one answer for every kind of malformed policy: */
  }
  throw new Refusal('InvalidPolicyDocument', 'The policy is malformed.');
}

const isText = (value) => typeof value === 'string';
const isSize = (value) => Number.isSafeInteger(value) && value >= 0;

/** A condition as [operator, field, value] or ['content-length-range', min, max]; {"field": "value"} means eq. */
function normalise(condition) {
  const members = Array.isArray(condition)
    ? condition
    : Object.entries(condition ?? {}).flatMap(([name, value]) => ['eq', `$${name}`, value]);
  const [operator, left, right] = members;
  const range = operator === 'content-length-range' && isSize(left) && isSize(right);
  const match = ['eq', 'starts-with'].includes(operator) && isText(left) && left.startsWith('$') && isText(right);
  const known = members.length === 3 && (range || match);
  insist(known, 'InvalidPolicyDocument', 'The policy has a condition that is not understood.');
  return range ? members : [operator, left.slice(1).toLowerCase(), right];
}

/** Checks every condition of the policy against the form; the range of sizes that it allows. */
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

/** The upload that a form allows: { signer, key, contentType }. Throws the Refusal that S3 would answer with. */
export function authorize(config, form, size, now) {
  allowed(
    REQUIRED.every((name) => form.has(name)),
    'The form lacks a field.',
  );
  allowed(
    [...form.keys()].every((name) => FIELDS.has(name)),
    'The form has a field that is not supported.',
  );
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

// --- signed headers --------------------------------------------------------------------------------------------

const SIGNED = /^AWS4-HMAC-SHA256 Credential=([^ ,]+), ?SignedHeaders=([a-z0-9;-]+), ?Signature=([0-9a-f]{64})$/;
const MAX_SKEW = 15 * 60 * 1000; // S3's, in milliseconds

/**
 * The credential that signed a bodyless request in its headers, as "Signature Calculations for the Authorization
 * Header" tells. The one character of a key that the canonical path encodes is the equals sign.
 */
export function requesterOf(config, req, key, now) {
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
  const scope = credential.split('/').slice(1);
  const request = [req.method, path, '', headers, names, req.headers['x-amz-content-sha256']];
  const text = textToSign(date, scope, request);
  return signerOf(config, credential, date, signature, text);
}
