// Answers questions about Signal key material with libsignal itself.
//
// Usage: node libsignal.mjs <folder whose node_modules hold @signalapp/libsignal-client>
// One JSON request per line of standard input, {"operation": name, "arguments": {...}}, and one JSON answer per
// line of standard output, {"result": value} or {"error": {"name", "message"}}. Bytes travel as {"base64": text}.

import { createRequire } from 'node:module';
import { resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

const installed = createRequire(resolve(process.argv[2], 'package.json'));
const load = (name) => import(pathToFileURL(installed.resolve(name)).href);
const signal = await load('@signalapp/libsignal-client');
const zk = await load('@signalapp/libsignal-client/zkgroup.js');

const DAY = 86400;
const startOfDay = () => Math.floor(Date.now() / 1000 / DAY) * DAY;
const date = (seconds) => new Date(seconds * 1000);
const filled = (length, value) => new Uint8Array(length).fill(value);
const ALICE = signal.Aci.fromUuidBytes(filled(16, 0xa1));
const ALICE_PNI = signal.Pni.fromUuidBytes(filled(16, 0xa2));
const BOB = signal.Aci.fromUuidBytes(filled(16, 0xb1));

const publicKey = (bytes) => signal.PublicKey.deserialize(bytes);
const privateKey = (bytes) => signal.PrivateKey.deserialize(bytes);

const pair = (params) => ({ secret: params.serialize(), public: params.getPublicParams().serialize() });

// A whole exchange between a server with the secret parameters and a client with the public ones. Each throws
// when a proof does not verify.
const serverExchanges = {
  authCredential(secret, known) {
    const today = startOfDay();
    const group = zk.GroupSecretParams.generate();
    const server = new zk.ServerZkAuthOperations(secret);
    const client = new zk.ClientZkAuthOperations(known);
    const response = server.issueAuthCredentialWithPniZkc(ALICE, ALICE_PNI, today);
    const credential = client.receiveAuthCredentialWithPniAsServiceId(ALICE, ALICE_PNI, today, response);
    const presentation = client.createAuthCredentialWithPniPresentation(group, credential);
    server.verifyAuthCredentialPresentation(group.getPublicParams(), presentation);
  },

  expiringProfileKeyCredential(secret, known) {
    const today = startOfDay();
    const group = zk.GroupSecretParams.generate();
    const profileKey = new zk.ProfileKey(filled(32, 0xc1));
    const server = new zk.ServerZkProfileOperations(secret);
    const client = new zk.ClientZkProfileOperations(known);
    const context = client.createProfileKeyCredentialRequestContext(ALICE, profileKey);
    const commitment = profileKey.getCommitment(ALICE);
    const expiration = today + 5 * DAY;
    const response = server.issueExpiringProfileKeyCredential(context.getRequest(), ALICE, commitment, expiration);
    const credential = client.receiveExpiringProfileKeyCredential(context, response);
    const presentation = client.createExpiringProfileKeyCredentialPresentation(group, credential);
    server.verifyProfileKeyCredentialPresentation(group.getPublicParams(), presentation);
  },

  receiptCredential(secret, known) {
    const today = startOfDay();
    const server = new zk.ServerZkReceiptOperations(secret);
    const client = new zk.ClientZkReceiptOperations(known);
    const context = client.createReceiptCredentialRequestContext(new zk.ReceiptSerial(filled(16, 0xd1)));
    const response = server.issueReceiptCredential(context.getRequest(), today + 30 * DAY, 3n);
    const credential = client.receiveReceiptCredential(context, response);
    server.verifyReceiptCredentialPresentation(client.createReceiptCredentialPresentation(credential));
  },

  groupSendEndorsement(secret, known) {
    const today = startOfDay();
    const group = zk.GroupSecretParams.generate();
    const cipher = new zk.ClientZkGroupCipher(group);
    const expiration = date(today + 2 * DAY);
    const keys = zk.GroupSendDerivedKeyPair.forExpiration(expiration, secret);
    const members = [ALICE, BOB];
    const ciphertexts = members.map((member) => cipher.encryptServiceId(member));
    const response = zk.GroupSendEndorsementsResponse.issue(ciphertexts, keys);
    const received = response.receiveWithServiceIds(members, ALICE, group, known);
    const token = received.combinedEndorsement.toFullToken(group, response.getExpiration());
    token.verify([BOB], zk.GroupSendDerivedKeyPair.forExpiration(token.getExpiration(), secret));
  },

  notarySignature(secret, known) {
    const message = filled(40, 0xe1);
    known.verifySignature(message, secret.sign(message));
  },
};

const genericExchanges = {
  callLinkAuthCredential(secret, known) {
    const today = startOfDay();
    const callLink = zk.CallLinkSecretParams.deriveFromRootKey(filled(16, 0xf1));
    const response = zk.CallLinkAuthCredentialResponse.issueCredential(ALICE, today, secret);
    const credential = response.receive(ALICE, today, known);
    const presentation = credential.present(ALICE, today, known, callLink);
    presentation.verify(secret, callLink.getPublicParams());
  },

  createCallLinkCredential(secret, known) {
    const today = startOfDay();
    const roomId = filled(32, 0xf2);
    const callLink = zk.CallLinkSecretParams.deriveFromRootKey(filled(16, 0xf1));
    const context = zk.CreateCallLinkCredentialRequestContext.forRoomId(roomId);
    const response = context.getRequest().issueCredential(ALICE, today, secret);
    const credential = context.receive(response, ALICE, known);
    const presentation = credential.present(roomId, ALICE, known, callLink);
    presentation.verify(roomId, secret, callLink.getPublicParams());
  },

  backupAuthCredential(secret, known) {
    const today = startOfDay();
    const context = zk.BackupAuthCredentialRequestContext.create(filled(32, 0xf3), ALICE.getRawUuid());
    const request = context.getRequest();
    const { Paid } = zk.BackupLevel;
    const { Media } = zk.BackupCredentialType;
    const response = request.issueCredential(today, Paid, Media, secret);
    const credential = context.receive(response, today, known);
    credential.present(known).verify(secret);
  },
};

const operations = {
  serverSecretParams: ({ random }) => pair(zk.ServerSecretParams.generateWithRandom(random)),

  genericServerSecretParams: ({ random }) => pair(zk.GenericServerSecretParams.generateWithRandom(random)),

  serverExchange({ kind, secret, known }) {
    serverExchanges[kind](new zk.ServerSecretParams(secret), new zk.ServerPublicParams(known));
  },

  genericExchange({ kind, secret, known }) {
    genericExchanges[kind](new zk.GenericServerSecretParams(secret), new zk.GenericServerPublicParams(known));
  },

  exchanges: () => ({ server: Object.keys(serverExchanges), generic: Object.keys(genericExchanges) }),

  curveKey({ secret }) {
    const key = privateKey(secret);
    const known = key.getPublicKey();
    return { private: key.serialize(), public: known.getPublicKeyBytes(), serialised: known.serialize() };
  },

  hkdf: ({ length, material, label, salt }) => signal.hkdf(length, material, label, salt),

  signed: ({ key, message, signature }) => publicKey(key).verify(message, signature),

  newServerCertificate: ({ keyId, key, trustRoot }) =>
    signal.ServerCertificate.new(keyId, publicKey(key), privateKey(trustRoot)).serialize(),

  serverCertificate({ certificate }) {
    const parsed = signal.ServerCertificate.deserialize(certificate);
    return {
      keyId: parsed.keyId(),
      key: parsed.key().serialize(),
      certificate: parsed.certificateData(),
      signature: parsed.signature(),
    };
  },

  // Does a client with this trust root accept, at `time`, a sender certificate that the server key has signed?
  // Times are milliseconds since 1970.
  senderCertificateAccepted({ serverCertificate, serverKey, trustRoot, expiration, time }) {
    const issued = signal.SenderCertificate.new(
      ALICE,
      '+14155550100',
      1,
      signal.PrivateKey.generate().getPublicKey(),
      expiration,
      signal.ServerCertificate.deserialize(serverCertificate),
      privateKey(serverKey),
    );
    return signal.SenderCertificate.deserialize(issued.serialize()).validate(publicKey(trustRoot), time);
  },
};

const revive = (_, value) =>
  typeof value?.base64 === 'string' ? new Uint8Array(Buffer.from(value.base64, 'base64')) : value;

const encode = (value) => {
  if (value instanceof Uint8Array) return { base64: Buffer.from(value).toString('base64') };
  if (Array.isArray(value)) return value.map(encode);
  if (value === null || typeof value !== 'object') return value ?? null;
  return Object.fromEntries(Object.entries(value).map(([name, part]) => [name, encode(part)]));
};

const answer = (line) => {
  try {
    const request = JSON.parse(line, revive);
    return { result: encode(operations[request.operation](request.arguments)) };
  } catch (error) {
    return { error: { name: error.name, message: error.message } };
  }
};

for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify(answer(line))}\n`);
}
