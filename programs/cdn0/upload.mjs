/** Uploads by form: read, authorized, and stored whole or not at all. */
import { randomBytes } from 'node:crypto';

import { UNSIGNED_PAYLOAD } from '../lib/aws.mjs';
import { codeOf } from '../lib/s3.mjs';
import { authorize } from './authorization.mjs';
import { ask, signedByGate } from './exchange.mjs';
import { boundaryOf, FormHead } from './form.mjs';
import { PROTECTION } from './objects.mjs';
import { insist, Refusal, wellFormed } from './refusal.mjs';

/**
 * Everything of a form up to its file. A stranger can send this much, so it has a deadline, and few may be under way.
 */
async function headOf(gate, exchange, boundary, length) {
  const leave = gate.forms.enter(exchange.client);
  insist(leave, 'SlowDown', 'Too many forms are not complete up to their file.');
  exchange.deadline = exchange.started + gate.config.limits.formSeconds * 1000;
  try {
    const head = new FormHead(boundary);
    for (let got = 0; !head.rest && got < length; ) {
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

/**
 * @param {import('./gate.mjs').Gate} gate
 * @param {import('./exchange.mjs').Exchange} exchange
 */
export async function upload(gate, exchange) {
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

/** How an upload is stored: the request, and what stands before and after the file in its body. */
async function putTask(gate, exchange, { key, contentType }, size) {
  const about = { 'Content-Type': contentType, 'Content-Length': size };
  return {
    ...(await signedByGate(gate, exchange, 'PUT', key, { payload: UNSIGNED_PAYLOAD, headers: about })),
    after: Buffer.alloc(0),
    stored: 200,
    refused,
  };
}

/** The same fields and the file in a form of our own making. The fields are plain text of one line each. */
function formTask({ config }, _, { fields }, size) {
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

/** The Refusal for what the upstream has against an upload, though the gate had nothing. */
async function refused(exchange, answer) {
  const [code] = await codeOf(answer);
  exchange.upstreamCode = code ?? `${answer.statusCode}`;
  return NOT_STORED;
}

/** The same of a form, where a 403 is about the one who signed it. */
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
    const early = [
      [seam, at - tail.length],
      [chunk, at],
    ].some(([bytes, start]) => {
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
