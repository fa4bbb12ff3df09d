/**
 * How much this machine holds processes up: a thread sleeps for a moment again and again, and adds up how much later it
 * is woken; and the kernel says how long the main thread of the test itself could have run and had no processor. A test of a time that is promised allows what others took of the processors meanwhile: on a quiet machine next to nothing.
 */

import { readFileSync } from 'node:fs'
import { Worker } from 'node:worker_threads'

/** A sleep of the thread. One that is this much longer is what a machine without load does too. */
const SLEEP_MS = 5
const USUAL_MS = 2
/** A process that works is held up for longer than one that only wakes: the kernel prefers those that sleep much. */
const WORKING = 4
/** No more than this is ever allowed for, so that a promise that is not kept at all fails on any machine. */
const MOST_MS = 10_000

const WATCH = `
const { workerData: { late, sleep, usual } } = require('node:worker_threads')
const cell = new Int32Array(late)
for (let before = performance.now(); ; ) {
  Atomics.wait(cell, 1, 0, sleep)
  const now = performance.now()
  const over = now - before - sleep
  if (over > usual) Atomics.add(cell, 0, Math.round(over))
  before = now
}`

let shared: Int32Array | undefined

/** Begins to watch; gives the milliseconds that a process which works may have been held up since. */
export function lateness(): () => number {
  if (shared === undefined) {
    const late = new SharedArrayBuffer(8)
    shared = new Int32Array(late)
    // A thread, as the event loop of the test has work of its own.
    new Worker(WATCH, { eval: true, workerData: { late, sleep: SLEEP_MS, usual: USUAL_MS } }).unref()
  }
  const cell = shared
  const before = Atomics.load(cell, 0)
  const waited = waitedMs()
  return () => Math.min(MOST_MS, Math.max(WORKING * (Atomics.load(cell, 0) - before), waitedMs() - waited))
}

/** For how long the main thread of this process has waited for a processor, in all: proc(5), schedstat; 0 if the kernel does not count it. */
function waitedMs(): number {
  try {
    return Number(readFileSync('/proc/self/schedstat', 'latin1').split(' ')[1]) / 1e6
  } catch {
    return 0
  }
}
