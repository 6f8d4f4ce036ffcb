/**
 * Starts programs of the cluster, each in a thread of this process: a process for each start costs three times as much.
 * Reads from standard input a list of starts: file, words, environment, and the seconds after which it is ended.
 * Prints for each its exit status (null for one that was ended) and what it wrote.
 */
import { text } from 'node:stream/consumers';
import { Worker } from 'node:worker_threads';

async function started({ file, words, environment, seconds }) {
  const worker = new Worker(file, { argv: words, env: environment, stdout: true, stderr: true });
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    worker.terminate();
  }, seconds * 1000);
  const ended = new Promise((resolve) => worker.on('exit', resolve));
  worker.on('error', (error) => console.error(error));
  const [output, errors, status] = await Promise.all([text(worker.stdout), text(worker.stderr), ended]);
  clearTimeout(timer);
  return { status: late ? null : status, output, errors };
}

const answers = [];
for (const each of JSON.parse(await text(process.stdin))) answers.push(await started(each));
console.log(JSON.stringify(answers));
