// A real tus client: uploads a file; after an error it asks how much has arrived, and goes on from there.
//
// usage: node client.mjs PACKAGES '{"endpoint", "file", "headers", "metadata", "retryDelays"}'
// PACKAGES is where package-lock.json was installed; retryDelays are milliseconds.
// Prints {url, requests: [{method, status, offset}]}, or {error, status, requests} when the upload failed.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

const [packages, text] = process.argv.slice(2);
const { file, ...options } = JSON.parse(text);
const { Upload } = createRequire(`${packages}/`)('tus-js-client');
const requests = [];

function onAfterResponse(request, response) {
  const offset = response.getHeader('Upload-Offset');
  requests.push({
    method: request.getMethod(),
    status: response.getStatus(),
    offset: offset === undefined ? null : Number(offset),
  });
}

function upload() {
  return new Promise((resolve, reject) => {
    const task = new Upload(readFileSync(file), {
      ...options,
      onAfterResponse,
      onSuccess: () => resolve(task.url),
      onError: reject,
    });
    task.start();
  });
}

try {
  console.log(JSON.stringify({ url: await upload(), requests }));
} catch (error) {
  const status = error.originalResponse?.getStatus() ?? null;
  console.log(JSON.stringify({ error: error.message, status, requests }));
}
