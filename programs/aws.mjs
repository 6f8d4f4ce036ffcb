/**
 * AWS for the programs of the cluster: the pod's own credentials, Signature Version 4, and reads of one S3 bucket.
 *
 * Where credentials come from is told by the environment, as AWS's own SDKs take it ("Standardized credential
 * providers" of the AWS SDKs and Tools Reference Guide). The first of these that is there counts:
 * - AWS_SHARED_CREDENTIALS_FILE: an access key, in the profile `default` of an INI file;
 * - AWS_ROLE_ARN and AWS_WEB_IDENTITY_TOKEN_FILE (IRSA): the token of the service account is exchanged at STS,
 *   `https://sts.<region>.amazonaws.com` or AWS_ENDPOINT_URL_STS, for keys of the role;
 * - AWS_CONTAINER_CREDENTIALS_FULL_URI and AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE (EKS Pod Identity): the agent on
 *   the node exchanges the token.
 * Kubernetes renews token files and mounted secrets in place, so they are read again each time.
 *
 * No message of an error holds a key, a token, or anything else that was read or received, but for AWS's own codes.
 */
import { createHash, createHmac } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import http from 'node:http';
import https from 'node:https';
import { setTimeout as sleep } from 'node:timers/promises';

// --- credentials -----------------------------------------------------------------------------------------------

/** There are no credentials; the message tells why. */
export class CredentialsError extends Error {}

/** From so long before their end on, credentials are renewed beside the work; from LATE_MS on, before it. */
const EARLY_MS = 5 * 60_000;
const LATE_MS = 60_000;
/** So long after a failure its error is given again instead of another attempt. */
const PAUSE_MS = 2000;
const OBTAIN_MS = 5000;
/** An access key in a file has no end: the file is read again after so long. */
const FILE_MS = EARLY_MS + 60_000;
const ANSWER_MS = 5000;
/** Plain HTTP may carry a token to the node's own agents only (the addresses of ECS and of EKS Pod Identity). */
const AGENTS = new Set(['127.0.0.1', 'localhost', '[::1]', '169.254.170.2', '169.254.170.23', '[fd00:ec2::23]']);
const SESSION_NAME = /^[\w+=,.@-]{2,64}$/;

function demand(ok, problem) {
  if (!ok) throw new CredentialsError(problem);
}

/** What a credentials file or an answer gave, checked; `expires` in milliseconds since 1970. */
function checked(origin, { accessKeyId, secretAccessKey, sessionToken, expires }) {
  const plain = (value) => typeof value === 'string' && /^[!-~]+$/.test(value);
  demand(plain(accessKeyId) && plain(secretAccessKey), `${origin} gave no access key`);
  demand(sessionToken === undefined || plain(sessionToken), `${origin} gave a malformed session token`);
  demand(Number.isFinite(expires), `${origin} gave no time of expiration`);
  return { accessKeyId, secretAccessKey, sessionToken, expires };
}

async function textOf(variable, file) {
  try {
    return (await readFile(file, 'utf8')).trim();
  } catch (error) {
    throw new CredentialsError(`the file of ${variable} cannot be read (${error.code})`);
  }
}

async function tokenOf(variable, file) {
  const token = await textOf(variable, file);
  demand(/^[!-~]+$/.test(token), `the file of ${variable} holds no token`);
  return token;
}

/** The body of a 200; anything else is an error that names `origin` and AWS's code. */
async function answerOf(origin, url, options) {
  let answer;
  let body;
  try {
    answer = await fetch(url, { ...options, redirect: 'error', signal: AbortSignal.timeout(ANSWER_MS) });
    body = await answer.text();
  } catch (error) {
    const reason = error.cause?.code ?? error.code ?? error.name;
    throw new CredentialsError(`${origin} does not answer (${reason})`);
  }
  demand(answer.status === 200, `${origin} refused: ${[answer.status, ...errorCode(body)].join(' ')}`);
  return body;
}

/** The code in an error of AWS's, XML or JSON, as a list of one or none. */
export function errorCode(body) {
  const [, xml, json] = /<Code>([A-Za-z.]{1,80})<\/Code>|"code":\s*"([A-Za-z.]{1,80})"/i.exec(body) ?? [];
  return [xml ?? json].filter(Boolean);
}

async function fromFile({ AWS_SHARED_CREDENTIALS_FILE: file }) {
  const settings = new Map();
  let profile;
  for (const line of (await textOf('AWS_SHARED_CREDENTIALS_FILE', file)).split(/\r?\n/)) {
    const section = /^\s*\[\s*([^\]]+?)\s*\]/.exec(line);
    const [, name, value] = /^\s*([^#;=\s][^=\s]*)\s*=\s*(.*?)\s*$/.exec(line) ?? [];
    if (section) [, profile] = section;
    else if (name && profile === 'default') settings.set(name.toLowerCase(), value);
  }
  return checked('the file of AWS_SHARED_CREDENTIALS_FILE', {
    accessKeyId: settings.get('aws_access_key_id'),
    secretAccessKey: settings.get('aws_secret_access_key'),
    sessionToken: settings.get('aws_session_token'),
    expires: Date.now() + FILE_MS,
  });
}

async function fromWebIdentity(env, { region, session }) {
  const token = await tokenOf('AWS_WEB_IDENTITY_TOKEN_FILE', env.AWS_WEB_IDENTITY_TOKEN_FILE);
  const body = new URLSearchParams({
    Action: 'AssumeRoleWithWebIdentity',
    Version: '2011-06-15',
    RoleArn: env.AWS_ROLE_ARN,
    RoleSessionName: env.AWS_ROLE_SESSION_NAME ?? session,
    WebIdentityToken: token,
  });
  const url = env.AWS_ENDPOINT_URL_STS ?? `https://${hostOf('sts', region)}/`;
  const xml = await answerOf('STS', url, { method: 'POST', body });
  const element = (name) => new RegExp(`<${name}>\\s*([^<]*?)\\s*</${name}>`).exec(xml)?.[1];
  return checked('STS', {
    accessKeyId: element('AccessKeyId'),
    secretAccessKey: element('SecretAccessKey'),
    sessionToken: element('SessionToken'),
    expires: Date.parse(element('Expiration')),
  });
}

async function fromContainer(env) {
  const variable = 'AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE';
  const Authorization = await tokenOf(variable, env[variable]);
  const text = await answerOf('the container agent', env.AWS_CONTAINER_CREDENTIALS_FULL_URI, {
    headers: { Authorization },
  });
  let found;
  try {
    found = JSON.parse(text);
  } catch {
    throw new CredentialsError('the container agent gave no JSON');
  }
  return checked('the container agent', {
    accessKeyId: found?.AccessKeyId,
    secretAccessKey: found?.SecretAccessKey,
    sessionToken: found?.Token,
    expires: Date.parse(found?.Expiration),
  });
}

/** The source that the environment names; throws CredentialsError for none, or one that cannot be right. */
function sourceOf(env, options) {
  if (env.AWS_SHARED_CREDENTIALS_FILE) return fromFile;
  if (env.AWS_ROLE_ARN && env.AWS_WEB_IDENTITY_TOKEN_FILE) {
    const sts = env.AWS_ENDPOINT_URL_STS;
    demand(sts === undefined || /^https?:$/.test(URL.parse(sts)?.protocol), 'AWS_ENDPOINT_URL_STS is not a URL');
    const name = env.AWS_ROLE_SESSION_NAME ?? options.session;
    demand(SESSION_NAME.test(name), 'AWS_ROLE_SESSION_NAME is not the name of a session');
    return fromWebIdentity;
  }
  if (env.AWS_CONTAINER_CREDENTIALS_FULL_URI && env.AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE) {
    const url = URL.parse(env.AWS_CONTAINER_CREDENTIALS_FULL_URI);
    const safe = url?.protocol === 'https:' || (url?.protocol === 'http:' && AGENTS.has(url.hostname));
    demand(safe, 'AWS_CONTAINER_CREDENTIALS_FULL_URI must be https, or http to the agent of the node');
    return fromContainer;
  }
  throw new CredentialsError(
    'the environment names no AWS credentials: AWS_SHARED_CREDENTIALS_FILE, or AWS_ROLE_ARN and '
    + 'AWS_WEB_IDENTITY_TOKEN_FILE, or AWS_CONTAINER_CREDENTIALS_FULL_URI and AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE',
  );
}

/** The pod's credentials, got when they are first needed and renewed before they end, by one request at a time. */
export class Credentials {
  #env;
  #options;
  #source;
  #current;
  #renewal;
  #failure = { at: -Infinity };

  /**
   * `session` names the program in CloudTrail. `report` is called with the error of a renewal that failed while the
   * credentials in use are still good. Throws CredentialsError if `env` names no source.
   */
  constructor({ env = process.env, region, session, report = () => {} }) {
    this.#env = env;
    this.#options = { region, session, report };
    this.#source = sourceOf(env, this.#options);
  }

  /** Whether there ever were any. */
  get obtained() {
    return this.#current !== undefined;
  }

  /** Gets the first ones, however long that takes; reports what fails meanwhile. */
  async obtain() {
    while (!this.obtained) {
      try {
        await this.get();
      } catch (error) {
        this.#options.report(error);
        await sleep(OBTAIN_MS, undefined, { ref: false });
      }
    }
  }

  /** {accessKeyId, secretAccessKey, sessionToken?, expires} that are good for now; throws CredentialsError. */
  async get() {
    const left = (this.#current?.expires ?? 0) - Date.now();
    if (left > EARLY_MS) return this.#current;
    const renewal = this.#renew();
    if (left <= 0) return renewal;
    const renewed = renewal.catch(() => this.#current); // which #fetch has reported
    return left > LATE_MS ? this.#current : renewed;
  }

  #renew() {
    const paused = performance.now() - this.#failure.at < PAUSE_MS;
    if (!this.#renewal && paused) return Promise.reject(this.#failure.error);
    this.#renewal ??= this.#fetch().finally(() => { this.#renewal = undefined; });
    return this.#renewal;
  }

  async #fetch() {
    try {
      const found = await this.#source(this.#env, this.#options);
      demand(found.expires > Date.now(), 'the credentials have ended already');
      this.#current = found;
      return found;
    } catch (error) {
      this.#failure = { at: performance.now(), error };
      if (this.#current?.expires > Date.now()) this.#options.report(error);
      throw error;
    }
  }
}

// --- signatures ------------------------------------------------------------------------------------------------

const sha256 = (data) => createHash('sha256').update(data).digest('hex');
const hmac = (key, data) => createHmac('sha256', key).update(data).digest();

/** The payload of a request without a body, and the word for one whose body TLS alone protects. */
export const NO_PAYLOAD = sha256('');
export const UNSIGNED_PAYLOAD = 'UNSIGNED-PAYLOAD';

/** The host of a service in a region. China's regions have a domain of their own. */
export function hostOf(service, region) {
  return `${service}.${region}.amazonaws.com${region.startsWith('cn-') ? '.cn' : ''}`;
}

/** The path of an object, path-style. S3 encodes each byte but RFC 3986's unreserved ones and slashes, once. */
export function objectPath(bucket, key) {
  const encode = (segment) =>
    encodeURIComponent(segment).replace(/[!'()*]/g, (one) => `%${one.charCodeAt(0).toString(16).toUpperCase()}`);
  return `/${bucket}/${key.split('/').map(encode).join('/')}`;
}

/**
 * The headers to send for a request without a query, names in lower case: those given, which are all signed, Host,
 * and those of Signature Version 4. `path` is encoded already; `payload` is the hex SHA-256 of the body, or
 * UNSIGNED_PAYLOAD; `now` in milliseconds since 1970.
 */
export function sign({
  method, host, path, headers = {}, payload = NO_PAYLOAD, service = 's3', region, credentials, now = Date.now(),
}) {
  const date = new Date(now).toISOString().replace(/[:-]|\.\d+/g, '');
  const all = Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), `${value}`]));
  Object.assign(all, { host, 'x-amz-content-sha256': payload, 'x-amz-date': date });
  if (credentials.sessionToken) all['x-amz-security-token'] = credentials.sessionToken;
  const names = Object.keys(all).sort();
  const lines = names.map((name) => `${name}:${all[name].trim().replace(/\s+/g, ' ')}\n`).join('');
  const request = [method, path, '', lines, names.join(';'), payload].join('\n');
  const scope = [date.slice(0, 8), region, service, 'aws4_request'];
  const text = ['AWS4-HMAC-SHA256', date, scope.join('/'), sha256(request)].join('\n');
  const key = scope.reduce(hmac, `AWS4${credentials.secretAccessKey}`);
  const credential = `Credential=${credentials.accessKeyId}/${scope.join('/')}`;
  const signature = hmac(key, text).toString('hex');
  all.authorization = `AWS4-HMAC-SHA256 ${credential}, SignedHeaders=${names.join(';')}, Signature=${signature}`;
  return all;
}

// --- reads -----------------------------------------------------------------------------------------------------

const ATTEMPTS = 3;
const RETRY_MS = 100;
/** Without the head of an answer for so long, an attempt has failed. */
const HEAD_MS = 10_000;
/** S3 closes connections that idle for longer. */
const IDLE_MS = 4000;
const ERROR_BYTES = 16 * 1024;

/** An endpoint: https, or http for a server of one's own. Undefined for anything else. */
export function endpointOf(text) {
  const url = URL.parse(text);
  return url && [`https://${url.host}/`, `http://${url.host}/`].includes(url.href) ? url : undefined;
}

/** Signed reads of one bucket, path-style, over connections that are kept. */
export class Bucket {
  #name;
  #region;
  #endpoint;
  #credentials;
  #client;
  #agent;

  /** `endpoint` is a URL without a path; S3 in the region by default. */
  constructor({ name, region, endpoint = new URL(`https://${hostOf('s3', region)}`), credentials }) {
    this.#name = name;
    this.#region = region;
    this.#endpoint = endpoint;
    this.#credentials = credentials;
    this.#client = endpoint.protocol === 'https:' ? https : http;
    this.#agent = new this.#client.Agent({ keepAlive: true, timeout: IDLE_MS, maxFreeSockets: 64 });
  }

  /**
   * The answer to a GET or HEAD of an object, whatever its status, its body unread. Answers of 5xx and failures of
   * the network are tried again. Throws CredentialsError, the last failure, or the reason of `signal`.
   */
  async read(method, key, headers = {}, signal = undefined) {
    for (let attempt = 1; ; attempt += 1) {
      const credentials = await this.#credentials.get();
      signal?.throwIfAborted();
      try {
        const answer = await this.#ask(method, objectPath(this.#name, key), headers, credentials, signal);
        if (answer.statusCode < 500 || attempt === ATTEMPTS) return answer;
        answer.destroy();
      } catch (error) {
        signal?.throwIfAborted();
        if (attempt === ATTEMPTS) throw error;
      }
      await sleep(RETRY_MS * 2 ** attempt * (0.5 + Math.random() / 2), undefined, { signal });
    }
  }

  #ask(method, path, headers, credentials, signal) {
    const { host, hostname, port } = this.#endpoint;
    const signed = sign({ method, host, path, headers, region: this.#region, credentials });
    const where = { hostname: hostname.replace(/^\[|\]$/g, ''), port: port || undefined, path };
    return new Promise((resolve, reject) => {
      const request = this.#client.request({ ...where, method, headers: signed, agent: this.#agent, signal });
      const silent = () => request.destroy(Object.assign(new Error('S3 is silent'), { code: 'ETIMEDOUT' }));
      const timer = setTimeout(silent, HEAD_MS);
      const settle = (with_) => (value) => {
        clearTimeout(timer);
        with_(value);
      };
      request.on('response', settle(resolve)).on('error', settle(reject)).end();
    });
  }
}

/** The code of S3's error in an answer's body, as a list of one or none; the body is read, and thrown away. */
export async function codeOf(answer) {
  const chunks = [];
  let size = 0;
  for await (const chunk of answer) {
    size += chunk.length;
    if (size > ERROR_BYTES) break;
    chunks.push(chunk);
  }
  return errorCode(Buffer.concat(chunks).toString('latin1'));
}

// --- flags -----------------------------------------------------------------------------------------------------

/** A flag that cannot be right; the message names it. */
export class FlagError extends Error {}

/** For parseArgs. The endpoint is for servers of one's own that speak S3. */
export const S3_FLAGS = Object.fromEntries(
  ['s3-bucket', 's3-region', 's3-prefix', 's3-endpoint'].map((name) => [name, { type: 'string' }]),
);
export const S3_USAGE = '--s3-bucket NAME --s3-region REGION [--s3-prefix PREFIX] [--s3-endpoint URL]';

/**
 * What the flags name: {credentials, bucket, prefix}. As tusd has it, a slash follows a prefix that has none. Throws
 * FlagError, or CredentialsError for an environment without credentials; the rest is as of Credentials.
 */
export function storeOf(flags, { session, report }) {
  const must = (ok, problem) => {
    if (!ok) throw new FlagError(problem);
  };
  const [name = '', region = '', prefix = '', address] = Object.keys(S3_FLAGS).map((flag) => flags[flag]);
  must(/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/.test(name), '--s3-bucket must be the name of a bucket');
  must(/^[a-z0-9-]+$/.test(region), '--s3-region must be the name of a region');
  must(/^([A-Za-z0-9_-]+(\/|$))*$/.test(prefix), '--s3-prefix must be names and slashes, such as attachments/');
  const endpoint = address === undefined ? undefined : endpointOf(address);
  must(endpoint || address === undefined, '--s3-endpoint must be https://HOST or http://HOST[:PORT]');
  const credentials = new Credentials({ region, session, report });
  const bucket = new Bucket({ name, region, endpoint, credentials });
  return { credentials, bucket, prefix: prefix.replace(/[^/]$/, '$&/') };
}
