/**
 * Loaded before a program (`node --import`): its timers run five times as fast, and so does the clock that it measures
 * with. What it decides is the same, and a test waits a fifth of the time. The time of day stays what it is.
 */
import { syncBuiltinESMExports } from 'node:module';
import timers from 'node:timers/promises';

const TIMES = 5;
const { setTimeout: once, setInterval: often } = globalThis;
const { setTimeout: sleep } = timers;
const { timeout } = AbortSignal;
const now = performance.now.bind(performance);

globalThis.setTimeout = (call, ms, ...rest) => once(call, ms / TIMES, ...rest);
globalThis.setInterval = (call, ms, ...rest) => often(call, ms / TIMES, ...rest);
timers.setTimeout = (ms, ...rest) => sleep(ms / TIMES, ...rest);
AbortSignal.timeout = (ms) => timeout.call(AbortSignal, Math.ceil(ms / TIMES));
performance.now = () => now() * TIMES;
syncBuiltinESMExports();
