// A real tus server in tusd's place: asks CDN3's hook as tusd 2.8.0 does, and does what tusd does with the answer.
//
// usage: node server.mjs PACKAGES '{"host", "port", "hook", "directory", "maxSize"}'
// PACKAGES is where package-lock.json was installed. Prints one JSON line with the port once it listens.
import { createRequire } from 'node:module';

const [packages, text] = process.argv.slice(2);
const options = JSON.parse(text);
const require = createRequire(`${packages}/`);
const { Server } = require('@tus/server');
const { FileStore } = require('@tus/file-store');

/** Header names as Go writes them. */
function canonical(name) {
  return name.replace(/(^|-)[a-z]/g, (start) => start.toUpperCase());
}

/** The body of tusd's pre-create hook for this request. */
function hookCall(request, upload) {
  const { req } = request.runtime.node;
  const header = {};
  for (const [name, value] of request.headers) header[canonical(name)] = [value];
  return {
    Type: 'pre-create',
    Event: {
      Upload: {
        ID: '',
        Size: upload.size ?? 0,
        SizeIsDeferred: upload.sizeIsDeferred,
        Offset: 0,
        MetaData: upload.metadata ?? {},
        IsPartial: false,
        IsFinal: false,
        PartialUploads: null,
        Storage: null,
      },
      HTTPRequest: {
        Method: req.method,
        URI: req.url,
        RemoteAddr: `${req.socket.remoteAddress}:${req.socket.remotePort}`,
        Header: header,
      },
    },
  };
}

async function onUploadCreate(request, upload) {
  const answer = await fetch(options.hook, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify(hookCall(request, upload)),
  });
  if (!answer.ok) throw { status_code: 500, body: `hook answered ${answer.status}` };
  const { RejectUpload, HTTPResponse, ChangeFileInfo } = await answer.json();
  if (RejectUpload) throw { status_code: HTTPResponse.StatusCode, body: HTTPResponse.Body };
  upload.id = ChangeFileInfo.ID;
  return { metadata: ChangeFileInfo.MetaData };
}

const server = new Server({
  path: '/attachments',
  datastore: new FileStore({ directory: options.directory }),
  maxSize: options.maxSize,
  respectForwardedHeaders: true,
  onUploadCreate,
}).listen(options.port, options.host, () => console.log(JSON.stringify({ port: server.address().port })));
