/**
 * Finds out if a registry gives an image to anybody, by the OCI Distribution Specification 1.1: asks for the manifest
 * with HEAD, and after a 401 again with a token, from where the registry's own `WWW-Authenticate` says
 * (https://distribution.github.io/distribution/spec/auth/token/). Downloads nothing.
 */
import { reasonOf } from '../lib/log.mjs';

const PATIENCE_MS = 6000;
const ACCEPT = [
  'application/vnd.oci.image.index.v1+json',
  'application/vnd.docker.distribution.manifest.list.v2+json',
  'application/vnd.oci.image.manifest.v1+json',
  'application/vnd.docker.distribution.manifest.v2+json',
].join(', ');
/** Docker Hub's registry has another name than its images. */
const HOSTS = new Map([['docker.io', 'registry-1.docker.io']]);

/**
 * The parts of `host/path:tag@digest`.
 * @param {string} reference
 */
export function partsOf(reference) {
  const [, host, path, tag, digest] = /^([^/]+)\/([^:@]+)(?::([^@]+))?(?:@(.+))?$/.exec(reference) ?? [];
  if (!host) return undefined;
  return { host: HOSTS.get(host) ?? host, path, reference: digest ?? tag ?? 'latest' };
}

/**
 * Where a token is to be had, for the answer of a registry; undefined where it says nothing of one.
 * @param {string | null} header WWW-Authenticate
 * @param {string} path
 */
export function tokenUrl(header, path) {
  if (!/^Bearer /i.test(header ?? '')) return undefined;
  const fields = Object.fromEntries(
    [...`${header}`.matchAll(/(\w+)="([^"]*)"/g)].map(([, key, value]) => [key, value]),
  );
  const url = URL.parse(fields.realm ?? '');
  if (url?.protocol !== 'https:') return undefined;
  if (fields.service) url.searchParams.set('service', fields.service);
  url.searchParams.set('scope', fields.scope ?? `repository:${path}:pull`);
  return url;
}

/**
 * `ok`, or why not: a status, or what the network said.
 * @param {string} image
 * @returns {Promise<string>}
 */
export async function manifestState(image) {
  const parts = partsOf(image);
  if (!parts) return 'is no reference of an image';
  const signal = AbortSignal.timeout(PATIENCE_MS);
  const url = `https://${parts.host}/v2/${parts.path}/manifests/${parts.reference}`;
  try {
    let answer = await fetch(url, { method: 'HEAD', headers: { Accept: ACCEPT }, signal });
    const where = answer.status === 401 ? tokenUrl(answer.headers.get('www-authenticate'), parts.path) : undefined;
    if (where) {
      const given = /** @type {any} */ (await (await fetch(where, { signal })).json());
      const Authorization = `Bearer ${given.token ?? given.access_token}`;
      answer = await fetch(url, { method: 'HEAD', headers: { Accept: ACCEPT, Authorization }, signal });
    }
    return answer.ok ? 'ok' : `status ${answer.status}`;
  } catch (error) {
    return `no answer (${error.cause ? reasonOf(error.cause) : error.name})`;
  }
}
