/** The parts of every request to AWS: hosts, paths, codes of errors, and Signature Version 4. */
import { createHash, createHmac } from 'node:crypto';

/** @typedef {{ accessKeyId: string, secretAccessKey: string, sessionToken?: string }} KeyPair */

/**
 * The host of a service in a region. China's regions have a domain of their own.
 * @param {string} service
 * @param {string} region
 */
export function hostOf(service, region) {
  return `${service}.${region}.amazonaws.com${region.startsWith('cn-') ? '.cn' : ''}`;
}

/**
 * The path of an object, path-style. S3 encodes each byte but RFC 3986's unreserved ones and slashes, once.
 * @param {string} bucket
 * @param {string} key
 */
export function objectPath(bucket, key) {
  return `/${bucket}/${key.split('/').map(encoded).join('/')}`;
}

const encoded = (/** @type {string} */ text) =>
  encodeURIComponent(text).replace(/[!'()*]/g, (one) => `%${one.charCodeAt(0).toString(16).toUpperCase()}`);

const CODE =
  /<Code>([A-Za-z.]{1,80})<\/Code>|"code":\s*"([A-Za-z.]{1,80})"|"__type":\s*"(?:[^"#]*#)?([A-Za-z]{1,80})"/i;

/**
 * The code in an error of AWS's, XML or JSON, as a list of one or none.
 * @param {string} body
 */
export function errorCode(body) {
  const [, ...codes] = CODE.exec(body) ?? [];
  return codes.filter(Boolean);
}

const sha256 = (/** @type {string | Buffer} */ data) => createHash('sha256').update(data).digest('hex');
const hmac = (/** @type {string | Buffer} */ key, /** @type {string} */ data) =>
  createHmac('sha256', key).update(data).digest();

/** The payload of a request without a body, and the word for one whose body TLS alone protects. */
const NO_PAYLOAD = sha256('');
export const UNSIGNED_PAYLOAD = 'UNSIGNED-PAYLOAD';

/**
 * The parts of a credential's scope on the day of `date`, which is as x-amz-date has it.
 * @param {string} date
 * @param {string} region
 * @param {string} service
 */
export const scopeOf = (date, region, service) => [date.slice(0, 8), region, service, 'aws4_request'];

/**
 * The text that is signed for a request in its canonical form.
 * @param {string} date
 * @param {string[]} scope
 * @param {string[]} request its lines
 */
export const textToSign = (date, scope, request) =>
  ['AWS4-HMAC-SHA256', date, scope.join('/'), sha256(request.join('\n'))].join('\n');

/**
 * The signature of a text, by the key that a secret access key gives for a scope.
 * @param {string} secret
 * @param {string[]} scope
 * @param {string} text
 */
export function signatureOf(secret, scope, text) {
  /** @type {string | Buffer} */
  let key = `AWS4${secret}`;
  for (const part of scope) key = hmac(key, part);
  return hmac(key, text);
}

/**
 * The headers to send for a request, names in lower case: those given, which are all signed, Host, and those of
 * Signature Version 4.
 * @param {{
 *   method: string, host: string, path: string, query?: string, region: string, credentials: KeyPair,
 *   service?: string, headers?: Record<string, string | number>, payload?: string, now?: number,
 * }} request `path` and `query` are encoded already; `payload` is the hex SHA-256 of the body, or UNSIGNED_PAYLOAD;
 *   `now` in milliseconds since 1970
 * @returns {Record<string, string>}
 */
export function sign({
  method,
  host,
  path,
  query = '',
  headers = {},
  payload = NO_PAYLOAD,
  service = 's3',
  region,
  credentials,
  now = Date.now(),
}) {
  const date = new Date(now).toISOString().replace(/[:-]|\.\d+/g, '');
  const all = Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), `${value}`]));
  Object.assign(all, { host, 'x-amz-content-sha256': payload, 'x-amz-date': date });
  if (credentials.sessionToken) all['x-amz-security-token'] = credentials.sessionToken;
  const names = Object.keys(all).sort();
  const lines = names.map((name) => `${name}:${all[name].trim().replace(/\s+/g, ' ')}\n`).join('');
  const scope = scopeOf(date, region, service);
  const text = textToSign(date, scope, [method, path, query, lines, names.join(';'), payload]);
  const credential = `Credential=${credentials.accessKeyId}/${scope.join('/')}`;
  const signature = signatureOf(credentials.secretAccessKey, scope, text).toString('hex');
  all.authorization = `AWS4-HMAC-SHA256 ${credential}, SignedHeaders=${names.join(';')}, Signature=${signature}`;
  return all;
}

/**
 * The answer to a signed request, and the text of its body. Throws what fetch throws.
 * @param {{
 *   endpoint: URL, method: string, path: string, query?: Record<string, string>, headers?: Record<string, string>,
 *   body?: string | Buffer, region: string, service?: string, credentials: KeyPair, milliseconds: number,
 *   redirect?: RequestRedirect,
 * }} request `path` is encoded already; without an answer after so many milliseconds it has failed
 */
export async function send({ endpoint, query = {}, body = '', milliseconds, redirect, ...request }) {
  const pairs = Object.entries(query).map(([name, value]) => `${encoded(name)}=${encoded(value)}`);
  const asked = pairs.sort().join('&');
  const headers = sign({ ...request, host: endpoint.host, query: asked, payload: sha256(body) });
  delete headers.host; // fetch sets it
  const { method, path } = request;
  const url = new URL(`${path}${asked && `?${asked}`}`, endpoint);
  const signal = AbortSignal.timeout(milliseconds);
  const answer = await fetch(url, { method, headers, body: /** @type {any} */ (body || undefined), redirect, signal });
  return { answer, text: await answer.text() };
}
