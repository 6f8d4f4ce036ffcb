/**
 * Shows the cluster's network as a pod sees it; two throw-away pods run it.
 *
 * `listen` takes connections on each --port until SIGTERM. `call` is the other pod: a network policy lets it
 * reach the port --open of the host --to, and not the port --closed. Once both are as the policy says, or after
 * --seconds, it prints one JSON line: whether each port took a connection, what the cluster's name server said to
 * --resolve, the name servers of the pod, the time of the node, and whether a registry gives each --image to anybody.
 *
 * Exit status 0 when it has looked, whatever it saw; 2 when the arguments are wrong.
 */
import { lookup } from 'node:dns/promises';
import { readFileSync } from 'node:fs';
import net from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

import { configured, Flags, must } from '../lib/flags.mjs';
import { reasonOf } from '../lib/log.mjs';
import { manifestState } from './registry.mjs';

const USAGE = `doctor/network.mjs listen --port PORT... |
  call --to HOST --open PORT --closed PORT [--resolve NAME] [--seconds SECONDS] [--image REFERENCE]...`;
const CONNECT_MS = 1500;
const LOOKUP_MS = 5000;
const PAUSE_MS = 500;

/**
 * @param {string} host
 * @param {number} port
 * @returns {Promise<boolean>}
 */
function connects(host, port) {
  return new Promise((resolve) => {
    const socket = net.connect({ host, port });
    const done = (/** @type {boolean} */ answer) => {
      clearTimeout(timer);
      socket.destroy();
      resolve(answer);
    };
    const timer = setTimeout(() => done(false), CONNECT_MS);
    socket.on('connect', () => done(true)).on('error', () => done(false));
  });
}

/** @param {string} name */
async function resolved(name) {
  const began = performance.now();
  const late = sleep(LOOKUP_MS, { problem: 'no answer' }, { ref: false });
  const answer = lookup(name).then(
    ({ address }) => ({ address }),
    (error) => ({ problem: reasonOf(error) }),
  );
  return { ...(await Promise.race([answer, late])), milliseconds: Math.round(performance.now() - began) };
}

function nameServers() {
  const text = readFileSync('/etc/resolv.conf', 'utf8');
  return [...text.matchAll(/^nameserver\s+(\S+)/gm)].map(([, address]) => address);
}

const { role, ports, to, open, closed, name, seconds, images } = configured(USAGE, () => {
  const known = { port: [], to: undefined, open: '0', closed: '0', resolve: '', seconds: '10', image: [] };
  const flags = new Flags(known, { positionals: true });
  const [word] = flags.positionals;
  must(word === 'listen' || word === 'call', 'the first argument is listen or call');
  must(word === 'call' || flags.list('port').length, '--port is missing');
  return {
    role: word,
    ports: flags.list('port').map(Number),
    to: word === 'call' ? flags.text('to') : '',
    open: flags.number('open', { min: word === 'call' ? 1 : 0, max: 65535 }),
    closed: flags.number('closed', { min: word === 'call' ? 1 : 0, max: 65535 }),
    name: flags.has('resolve') ? flags.text('resolve', /^/) : '',
    seconds: flags.seconds('seconds', { max: 60 }),
    images: flags.list('image'),
  };
});

process.on('SIGTERM', () => process.exit(0));
if (role === 'listen') {
  for (const port of ports) net.createServer((socket) => socket.destroy()).listen(port);
} else {
  const asked = Promise.all(images.map(async (image) => [image, await manifestState(image)]));
  const name_ = name ? resolved(name) : Promise.resolve(undefined);
  const end = performance.now() + seconds * 1000;
  let seen = { open: false, closed: true };
  for (;;) {
    const [reached, leaked] = await Promise.all([connects(to, open), connects(to, closed)]);
    seen = { open: reached, closed: leaked };
    if ((reached && !leaked) || performance.now() > end) break;
    await sleep(PAUSE_MS);
  }
  const found = { ...seen, dns: await name_, nameServers: nameServers(), images: Object.fromEntries(await asked) };
  process.stdout.write(`${JSON.stringify({ ...found, time: Date.now() })}\n`);
  process.exit(0);
}
