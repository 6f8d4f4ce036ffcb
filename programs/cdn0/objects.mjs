/** Reads and deletions of objects. */
import { pipeline } from 'node:stream/promises';

import { codeOf } from '../lib/s3.mjs';
import { requesterOf } from './authorization.mjs';
import { ask, isBodyless, ofUpstream, signedByGate } from './exchange.mjs';
import { keyOf } from './keys.mjs';
import { allowed, insist, Refusal } from './refusal.mjs';

/** Request headers that are copied, if well-formed. Others of these names are ignored, as RFC 9110 allows. */
const ETAGS = /^(?:\*|(?:W\/)?"[!#-~]*"(?:, ?(?:W\/)?"[!#-~]*")*)$/;
const HTTP_DATE = /^[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT$/;
const COPIED_IN = new Map([
  ['range', /^bytes=(?:\d{1,15}-\d{0,15}|-\d{1,15})$/],
  ['if-match', ETAGS],
  ['if-none-match', ETAGS],
  ['if-modified-since', HTTP_DATE],
  ['if-unmodified-since', HTTP_DATE],
  ['if-range', new RegExp(`^"[!#-~]*"$|${HTTP_DATE.source}`)],
]);
const COPIED_OUT = [
  'content-type',
  'content-length',
  'etag',
  'last-modified',
  'content-range',
  'accept-ranges',
  'cache-control',
];
/** Objects are opaque bytes of anybody: no browser may sniff, run, frame or show them under this domain. */
export const PROTECTION = {
  'X-Content-Type-Options': 'nosniff',
  'Content-Security-Policy': "default-src 'none'; frame-ancestors 'none'; sandbox",
};

/** S3 does not document If-Range: with it, the answer is the whole object, which RFC 9110 (14.2) always allows. */
async function readObject(gate, exchange, key, given) {
  const { 'if-range': only, range, ...headers } = given;
  if (range && !only) headers.range = range;
  const { method } = exchange.req;
  const answer = await signedRead(gate, exchange, method, key, headers);
  const { statusCode: status } = answer;
  if ([200, 206, 304, 404, 412, 416].includes(status)) return answer;
  // Only a body tells whether the key is missing or something is wrong with the identity.
  const body = method === 'HEAD' ? await signedRead(gate, exchange, 'GET', key, { range: 'bytes=0-0' }) : answer;
  const [code] = await exchange.patiently(codeOf(body));
  const mayBeMissing = gate.config.writes === 'form' && status === 403 && code === 'AccessDenied';
  insist(!mayBeMissing, 'NoSuchKey', 'There is no such object.');
  exchange.upstreamCode = code ?? `${status}`;
  throw new Refusal('ServiceUnavailable', 'The upstream failed.');
}

const signedRead = (gate, exchange, method, key, headers) =>
  ofUpstream(exchange, gate.config.objects.read(method, key, headers, exchange.signal));

/**
 * @param {import('./gate.mjs').Gate} gate
 * @param {import('./exchange.mjs').Exchange} exchange
 */
export async function download(gate, exchange) {
  const { req, res, url } = exchange;
  const key = keyOf(gate.config, url);
  insist(key && gate.config.reads.some((pattern) => pattern.test(key)), 'NoSuchKey', 'There is no such object.');
  insist(isBodyless(req), 'InvalidRequest', 'A read has no body.');
  /** @type {Record<string, any>} */
  const headers = {};
  for (const [name, form] of COPIED_IN) if (form.test(`${req.headers[name] ?? ''}`)) headers[name] = req.headers[name];
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

/**
 * @param {import('./gate.mjs').Gate} gate
 * @param {import('./exchange.mjs').Exchange} exchange
 */
export async function erase(gate, exchange) {
  const { req, res, url } = exchange;
  const key = keyOf(gate.config, url.replaceAll('%3D', '='));
  insist(key && gate.config.deletable, 'MethodNotAllowed', 'The method is not allowed on this resource.');
  insist(isBodyless(req), 'InvalidRequest', 'A deletion has no body.');
  const signer = requesterOf(gate.config, req, key, Date.now());
  exchange.signer = signer.name;
  allowed(
    signer.deletes.some(({ pattern }) => pattern.test(key)),
    'The access key may not delete this key.',
  );
  const { method, path, headers } = await signedByGate(gate, exchange, 'DELETE', key);
  const outgoing = ask(gate, exchange, method, path, headers);
  outgoing.end();
  const answer = await exchange.upstream(outgoing, 'response');
  answer.resume();
  insist([204, 404].includes(answer.statusCode), 'ServiceUnavailable', 'The upstream failed.');
  res.writeHead(204, PROTECTION).end();
}
