/**
 * Membership of the Redis Cluster: makes the nodes that run in the StatefulSet's pods one cluster, and keeps it so.
 *
 * Every second it looks at all pods (host name -> address -> CLUSTER NODES), decides by pure rules (`plan`) what has to
 * be done next, and does it. It keeps no state: what it knows is what the nodes answer. The rules, in order:
 *
 *   introduce     a node that has another address than its peers know, or that is new and empty, is introduced
 *   strangers     a node that lost its nodes.conf and still has its keys is alone and claims the slots of these keys.
 *                 It gets back the slots of the identity that its host name had, unless a replica has more keys; its
 *                 keys of slots that others serve by now are an older copy, which it drops
 *   lost          a host name that answers with a new identity has lost its volume: a replica of the old identity is
 *                 made to take over; without any replica the old identity is forgotten, and its slots become free
 *   forget        the identity of a pod that is gone for good is forgotten
 *   open          a node with a new identity may be replicated, as soon as no replica follows its old one
 *   follow        a replica that follows an old address of its master is pointed to the new one
 *   open slots    an interrupted move of a slot is finished
 *   masters       surplus masters hand over to a replica that stays; missing masters are made of empty nodes or of
 *                 spare replicas
 *   replicas      every other node replicates the master that has the fewest replicas
 *   free slots    slots that no node holds are given to the masters (this also creates the cluster)
 *   balance       slots move, with their keys, until every master holds the same number and leaving nodes hold none
 *
 * Nothing here deletes the only copy of something: a node is reset only when it is empty, when it is a replica whose
 * master has another one in step (or shall have none), or when another node serves all that it has. What needs a person
 * is said in the log as {"event":"waiting",...}, and by GET /served; the other nodes are healed meanwhile.
 *
 * Serves its health on --listen:
 *   /livez   while the loop turns
 *   /readyz  when no node beyond the wanted number holds slots: the StatefulSet may shrink to
 *            --masters * (1 + --replicas-per-master)
 *   /served  when all slots are served and no node with keys is outside; else what is waited for
 */
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';

import { configured, Flags } from '../lib/flags.mjs';
import { log } from '../lib/log.mjs';
import { RedisError } from '../lib/redis.mjs';
import { healthServer, listen } from '../lib/server.mjs';
import { describe, perform } from './actions.mjs';
import { lookAtAll } from './nodes.mjs';
import { plan } from './plan.mjs';
import { judge, mayShrink } from './survey.mjs';

const USAGE = `redis/membership.mjs --listen [ADDRESS]:PORT --stateful-set NAME --peer-domain DOMAIN --redis-port PORT
  --masters NUMBER --replicas-per-master NUMBER --redis-password-file FILE
  The pods are NAME-<ordinal>, and their host names <pod>.DOMAIN. The cluster bus has PORT + 10000.`;
const PAUSE_MS = 1000; // between two rounds
const STILL_MS = 60_000; // without a round for so long, the loop stands still

const config = configured(USAGE, () => {
  const flags = new Flags({
    listen: undefined,
    'stateful-set': undefined,
    'peer-domain': undefined,
    'redis-port': undefined,
    masters: undefined,
    'replicas-per-master': undefined,
    'redis-password-file': undefined,
  });
  const masters = flags.number('masters', { max: 999 });
  const replicas = flags.number('replicas-per-master', { min: 0, max: 9 });
  return {
    listen: flags.address('listen'),
    statefulSet: flags.text('stateful-set', /^[a-z0-9-]+$/, 'must be the name of a StatefulSet'),
    domain: flags.text('peer-domain', /^[a-z0-9.-]+$/, 'must be a domain'),
    port: flags.number('redis-port', { max: 65535 }),
    masters,
    replicas,
    pods: masters * (1 + replicas),
    password: flags.line('redis-password-file'),
  };
});
const state = {
  instance: randomUUID(),
  /** @type {Map<string, number>} since when, in ms, each key has been asked for */
  clocks: new Map(),
  turned: Date.now(),
  news: 'starting',
  answering: 0,
  surplus: false,
  served: false,
  /** @type {number | undefined} since when no pod answers */
  silent: undefined,
  /** @type {number | undefined} since when no host name exists */
  absent: undefined,
};

async function round() {
  const seen = await lookAtAll(config, state.instance);
  try {
    const asked = new Set();
    const since = (/** @type {string} */ key) => {
      asked.add(key);
      const began = state.clocks.get(key) ?? Date.now();
      state.clocks.set(key, began);
      return Date.now() - began;
    };
    Object.assign(state, judge(config, seen));
    state.silent = state.answering ? undefined : (state.silent ?? Date.now());
    state.absent = seen.every(({ gone }) => gone) ? (state.absent ?? Date.now()) : undefined;
    const { rule, actions = [], waiting } = plan(config, seen, since);
    for (const key of state.clocks.keys()) if (!asked.has(key)) state.clocks.delete(key);
    const news = waiting ? `waiting ${rule} ${waiting}` : actions.length ? 'working' : 'complete';
    if (news !== state.news) {
      if (waiting) log('waiting', { rule, for: waiting });
      else if (!actions.length) log('complete', { pods: config.pods, masters: config.masters });
      state.news = news;
    }
    for (const step of actions) {
      log('step', { rule, ...describe(step) });
      try {
        await perform(config, state.instance, step);
      } catch (error) {
        if (!(error instanceof RedisError)) throw error;
        log('failed', { ...describe(step), error: error.message });
      }
      state.turned = Date.now();
    }
    return actions.length > 0;
  } finally {
    for (const { connection } of seen) connection?.close();
  }
}

process.on('SIGTERM', () => process.exit(0)).on('SIGINT', () => process.exit(0));
const health = healthServer({
  '/livez': () => (Date.now() - state.turned < STILL_MS ? undefined : 'the loop stands still'),
  '/readyz': () => (mayShrink(state, Date.now()) ? undefined : state.news),
  '/served': () => (state.served ? undefined : state.news),
});
listen(health, config.listen, USAGE, { serves: 'health' });
log('started', { masters: config.masters, replicas: config.replicas, pods: config.pods });
for (;;) {
  const worked = await round();
  state.turned = Date.now();
  await sleep(worked ? PAUSE_MS / 2 : PAUSE_MS);
}
