/** The place of archives: a folder of an S3 bucket. Files are written as they come, in parts, with no disk between. */
import { createHash } from 'node:crypto';

import { objectPath } from '../lib/aws.mjs';
import { RefusedError } from './requests.mjs';

/** S3 takes 10,000 parts, so a file of 160 GB. */
const PART_BYTES = 16 << 20;

const unescaped = (/** @type {string} */ text) =>
  text.replace(/&(?:#(\d+)|#x([0-9a-f]+)|(\w+));/gi, (_, decimal, hex, name) =>
    name
      ? { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" }[name]
      : String.fromCodePoint(decimal ? Number(decimal) : Number.parseInt(hex, 16)),
  );
const element = (xml, name) => unescaped(new RegExp(`<${name}>([^<]*)</${name}>`).exec(xml)?.[1] ?? '');

/**
 * The keys below a prefix.
 * @param {ReturnType<typeof import('./requests.mjs').server>} ask
 * @param {string} bucket
 * @param {string} prefix
 */
export async function* keys(ask, bucket, prefix) {
  const path = objectPath(bucket, '').replace(/\/$/, '');
  for (let token = ''; ; ) {
    const query = { 'list-type': '2', prefix, ...(token && { 'continuation-token': token }) };
    const { text } = await ask(`listing bucket ${bucket}`, 'GET', path, { query });
    for (const [, key] of text.matchAll(/<Contents>.*?<Key>([^<]*)<\/Key>.*?<\/Contents>/gs)) yield unescaped(key);
    if (element(text, 'IsTruncated') !== 'true') return;
    token = element(text, 'NextContinuationToken');
  }
}

/** A bucket and a prefix, empty or with a slash at its end. */
export class Place {
  #ask;
  #bucket;
  #prefix;
  /** @type {{ name: string, upload: string } | undefined} */
  #open;
  #abandoned = false;
  /** The request that writes just now. */
  #under = Promise.resolve();

  /**
   * @param {ReturnType<typeof import('./requests.mjs').server>} ask
   * @param {string} bucket
   * @param {string} prefix
   */
  constructor(ask, bucket, prefix) {
    this.#ask = ask;
    this.#bucket = bucket;
    this.#prefix = prefix;
  }

  #send(what, method, name, options) {
    return this.#ask(`${what} ${name}`, method, objectPath(this.#bucket, `${this.#prefix}${name}`), options);
  }

  #write(method, name, options) {
    if (this.#abandoned) throw new Error(`writing ${name}: abandoned`);
    const answer = this.#send('writing', method, name, options);
    this.#under = answer.then(
      () => {},
      () => {},
    );
    return answer;
  }

  /** The names of all objects of the place. */
  async names() {
    const found = [];
    for await (const key of keys(this.#ask, this.#bucket, this.#prefix)) found.push(key.slice(this.#prefix.length));
    return found;
  }

  /**
   * Writes a file, and returns its length and SHA-256. Nothing is there under its name unless all of it is.
   * @param {string} name
   * @param {AsyncIterable<Buffer>} content
   */
  async write(name, content) {
    const hash = createHash('sha256');
    let bytes = 0;
    /** @type {Buffer[]} */
    let waiting = [];
    let size = 0;
    let upload = '';
    /** @type {string[]} */
    const tags = [];
    const part = async () => {
      const body = Buffer.concat(waiting);
      waiting = [];
      size = 0;
      if (!upload) {
        upload = element((await this.#write('POST', name, { query: { uploads: '' } })).text, 'UploadId');
        this.#open = { name, upload };
      }
      const query = { partNumber: `${tags.length + 1}`, uploadId: upload };
      const { headers } = await this.#write('PUT', name, { query, body });
      tags.push(headers.get('etag') ?? '');
    };
    for await (const each of content) {
      hash.update(each);
      bytes += each.length;
      waiting.push(each);
      size += each.length;
      if (size >= PART_BYTES) await part();
    }
    if (!upload) await this.#write('PUT', name, { body: Buffer.concat(waiting) });
    else {
      if (size) await part();
      const parts = tags.map((tag, at) => `<Part><PartNumber>${at + 1}</PartNumber><ETag>${tag}</ETag></Part>`);
      const body = `<CompleteMultipartUpload>${parts.join('')}</CompleteMultipartUpload>`;
      const { text } = await this.#write('POST', name, { query: { uploadId: upload }, body });
      // S3 may say 200 first and then that it failed.
      if (/<Error>/.test(text)) throw new RefusedError(`writing ${name}`, 200, element(text, 'Code'));
      this.#open = undefined;
    }
    return { bytes, sha256: hash.digest('hex') };
  }

  /**
   * Deletes a folder, the file `first` before the others.
   * @param {string} folder
   * @param {string} first
   * @param {string[]} names of all objects
   */
  async delete(folder, first, names) {
    const own = names.filter((name) => name.startsWith(`${folder}/`));
    own.sort((one, other) => Number(other === `${folder}/${first}`) - Number(one === `${folder}/${first}`));
    for (const name of own) await this.#send('deleting', 'DELETE', name, {});
  }

  /**
   * Writes nothing more, and takes back the parts of a file that did not come to its end. It waits for the request that
   * is under way: a server may do what it was asked also after the connection has ended.
   */
  async abandon() {
    this.#abandoned = true;
    await this.#under;
    if (!this.#open) return;
    const { name, upload } = this.#open;
    this.#open = undefined;
    await this.#send('ending', 'DELETE', name, { query: { uploadId: upload } });
  }
}
