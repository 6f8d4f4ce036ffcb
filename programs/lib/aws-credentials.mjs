/**
 * The pod's own credentials of AWS.
 *
 * The environment names the source of the credentials, as AWS's own SDKs take it ("Standardized credential
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
import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';

import { errorCode, hostOf } from './aws.mjs';

/** @typedef {import('./aws.mjs').KeyPair & { expires: number }} Found */
/** @typedef {{ region: string, session: string, report: (error: Error) => void }} Options */

/** There are no credentials; the message says why. */
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

/**
 * The content of a credentials file or of an answer, checked; `expires` in milliseconds since 1970.
 * @returns {Found}
 */
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
    expires: Date.parse(element('Expiration') ?? ''),
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
    demand(sts === undefined || /^https?:$/.test(URL.parse(sts)?.protocol ?? ''), 'AWS_ENDPOINT_URL_STS is not a URL');
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
    'the environment names no AWS credentials: AWS_SHARED_CREDENTIALS_FILE, or AWS_ROLE_ARN and ' +
      'AWS_WEB_IDENTITY_TOKEN_FILE, or AWS_CONTAINER_CREDENTIALS_FULL_URI and AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE',
  );
}

/** The pod's credentials, got when they are first needed and renewed before they end, by one request at a time. */
export class Credentials {
  #env;
  #options;
  #source;
  /** @type {Found | undefined} */
  #current;
  /** @type {Promise<Found> | undefined} */
  #renewal;
  #failure = { at: Number.NEGATIVE_INFINITY, error: new CredentialsError('nothing was tried yet') };

  /**
   * `session` names the program in CloudTrail. `report` is called with the error of a renewal that failed while the
   * credentials in use are still good. Throws CredentialsError if `env` names no source.
   * @param {{ env?: NodeJS.ProcessEnv, region: string, session: string, report?: (error: Error) => void }} options
   */
  constructor({ env = process.env, region, session, report = () => {} }) {
    this.#env = env;
    this.#options = { region, session, report };
    this.#source = sourceOf(env, this.#options);
  }

  /** True once there were any. */
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

  /**
   * Those that are good for now; throws CredentialsError.
   * @returns {Promise<Found>}
   */
  async get() {
    const current = this.#current;
    const left = (current?.expires ?? 0) - Date.now();
    if (current && left > EARLY_MS) return current;
    const renewal = this.#renew();
    if (!current || left <= 0) return renewal;
    const renewed = renewal.catch(() => current); // which #fetch has reported
    return left > LATE_MS ? current : renewed;
  }

  #renew() {
    const paused = performance.now() - this.#failure.at < PAUSE_MS;
    if (!this.#renewal && paused) return Promise.reject(this.#failure.error);
    this.#renewal ??= this.#fetch().finally(() => {
      this.#renewal = undefined;
    });
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
      if (this.#current && this.#current.expires > Date.now()) this.#options.report(error);
      throw error;
    }
  }
}
