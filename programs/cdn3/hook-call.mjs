/** Reads tusd's call: the upload, who asks for it, and the key that it gets. */
import { createHmac, timingSafeEqual } from 'node:crypto';

import { clientOf } from '../lib/clients.mjs';
import { HttpError } from '../lib/server.mjs';
import { Refusal } from './hook-storage.mjs';
import { IS_KEY } from './uploads.mjs';

const BASIC = /^Basic +([A-Za-z0-9+/]+={0,2})$/i;
const PASSWORD = /^(0|[1-9][0-9]{0,11}):([0-9a-f]{20})$/;
const METADATA_PAIR = /^([!-+\--~]+)(?: ([A-Za-z0-9+/]*={0,2}))?$/;
const CHALLENGE = { 'WWW-Authenticate': 'Basic realm="attachments", charset="UTF-8"' };

/** A request to this program that tusd cannot have made: answered with a 4xx of its own. */
export class BadCall extends HttpError {}

/**
 * @typedef {{
 *   Size: number, SizeIsDeferred: boolean, IsPartial: boolean, IsFinal: boolean, MetaData: Record<string, string>
 * }} Upload
 */
/** @typedef {Record<string, string[]>} Header */

function isObject(value) {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isText(value) {
  return typeof value === 'string';
}

function isUpload(upload) {
  return (
    isObject(upload) &&
    Number.isInteger(upload.Size) &&
    upload.Size >= 0 &&
    [upload.SizeIsDeferred, upload.IsPartial, upload.IsFinal].every((flag) => typeof flag === 'boolean') &&
    isObject(upload.MetaData) &&
    Object.values(upload.MetaData).every(isText)
  );
}

function isHeader(header) {
  return isObject(header) && Object.values(header).every((values) => Array.isArray(values) && values.every(isText));
}

/**
 * The upload and the headers of tusd's call; throws BadCall for a body that is not a pre-create call of tusd's.
 * @param {Buffer} body
 * @returns {{ upload: Upload, header: Header }}
 */
export function parseCall(body) {
  let call;
  try {
    call = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(body));
  } catch {
    throw new BadCall(400, 'the body is not JSON');
  }
  const upload = call?.Event?.Upload;
  const header = call?.Event?.HTTPRequest?.Header;
  if (call?.Type !== 'pre-create' || !isUpload(upload) || !isHeader(header)) {
    throw new BadCall(400, 'the body is not a pre-create call');
  }
  return { upload, header };
}

/**
 * All values of a header, however its name is spelt.
 * @param {Header} header
 * @param {string} name
 */
function valuesOf(header, name) {
  return Object.entries(header).flatMap(([key, values]) => (key.toLowerCase() === name ? values : []));
}

/** The bytes of canonical standard base64, or undefined. */
function decode(text) {
  const bytes = Buffer.from(text, 'base64');
  return bytes.toString('base64') === text ? bytes : undefined;
}

// --- the decision ----------------------------------------------------------------------------------------------

/**
 * The user name that the credentials prove. 401 with a challenge where they are missing, malformed, forged or out
 * of their time (RFC 9110, 15.5.2: absent or invalid credentials).
 * @param {Header} header
 * @param {{ secret: Buffer, maxAge: number, clockSkew: number }} config ages in seconds
 * @returns {string}
 */
export function authenticate(header, { secret, maxAge, clockSkew }) {
  const lines = valuesOf(header, 'authorization');
  if (lines.length === 0) throw new Refusal(401, 'credentials are required', CHALLENGE);
  const credentials = lines.length === 1 && decode(BASIC.exec(lines[0])?.[1] ?? '');
  const [, username, password] = /^([^:]*):(.*)$/s.exec(credentials ? credentials.toString('latin1') : '') ?? [];
  const [, time, signature] = PASSWORD.exec(password ?? '') ?? [];
  if (signature === undefined) throw new Refusal(401, 'the credentials are malformed', CHALLENGE);
  const digest = createHmac('sha256', secret).update(`${username}:${time}`, 'latin1').digest('hex');
  if (!timingSafeEqual(Buffer.from(digest.slice(0, 20)), Buffer.from(signature))) {
    throw new Refusal(401, 'the credentials are not valid', CHALLENGE);
  }
  const age = Date.now() / 1000 - Number(time);
  if (age > maxAge || age < -clockSkew) {
    throw new Refusal(401, 'the credentials are not of this time', CHALLENGE);
  }
  return username;
}

/**
 * Only a plain upload of a declared size that fits. Size 0 is one: the tus protocol allows it, and it costs less
 * than any other upload.
 * @param {Upload} upload
 * @param {Header} header
 * @param {number} maxSize
 */
export function checkKind(upload, header, maxSize) {
  if (upload.IsPartial || upload.IsFinal || valuesOf(header, 'upload-concat').length > 0) {
    throw new Refusal(403, 'concatenation is not allowed');
  }
  if (upload.SizeIsDeferred || valuesOf(header, 'upload-defer-length').length > 0) {
    throw new Refusal(400, 'Upload-Length is required');
  }
  if (upload.Size > maxSize) throw new Refusal(413, 'the upload is too large');
}

/** The metadata of one Upload-Metadata header by key; repeated keys and whatever tusd would skip are refused. */
function parseMetadata(line) {
  const metadata = new Map();
  for (const element of line.split(',')) {
    const [, key, value = ''] = METADATA_PAIR.exec(element.trim()) ?? [];
    const bytes = decode(value);
    if (key === undefined || bytes === undefined) throw new Refusal(400, 'Upload-Metadata is malformed');
    if (metadata.has(key)) throw new Refusal(400, 'Upload-Metadata repeats a key');
    metadata.set(key, bytes.toString('latin1'));
  }
  return metadata;
}

/**
 * The key under which the upload will be stored, from the `filename` that the client and tusd agree on.
 * @param {Upload} upload
 * @param {Header} header
 */
export function uploadKey(upload, header) {
  const lines = valuesOf(header, 'upload-metadata');
  if (lines.length !== 1) throw new Refusal(400, 'exactly one Upload-Metadata header is required');
  const name = parseMetadata(lines[0]).get('filename');
  if (name === undefined) throw new Refusal(400, 'Upload-Metadata has no filename');
  if (!IS_KEY.test(name)) throw new Refusal(400, 'filename is not an attachment key');
  if (!Object.hasOwn(upload.MetaData, 'filename') || upload.MetaData.filename !== name) {
    throw new Refusal(400, 'filename is ambiguous');
  }
  return name;
}

/** The client as Traefik named it to tusd; nothing where no proxy is in front. */
export const clientIn = (/** @type {Header} */ header) =>
  clientOf({ headers: { 'x-forwarded-for': valuesOf(header, 'x-forwarded-for').join(',') }, socket: {} });
