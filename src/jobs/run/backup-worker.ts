/**
 * The process of one guest's backup: what goes wrong in it hurts no other guest. It does what its first line of input says, and ends in
 * good order, with the guest freed, if it is told so or its input ends, as it does if the run is killed.
 */

import { writeSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { asVmapipeError, VmapipeError } from '../../core/errors.ts'
import { AdjustableRate } from '../../stages/rate-limit.ts'
import { endAtOnce } from '../../system/end-at-once.ts'
import { perform } from './perform.ts'
import type { Order, Task, Telling } from './task.ts'

/** With the time of `endAtOnce` it is less than the 2 s within which a guest is freed. */
const GRACE_MS = 1000

const controller = new AbortController()
const rate = new AdjustableRate()

function tell(telling: Telling): void {
  try {
    writeSync(1, `${JSON.stringify(telling)}\n`)
  } catch (error) {
    // A pipe that is full for a moment. Other errors mean that nobody listens any more, and the end of our input says so too.
    if ((error as NodeJS.ErrnoException).code === 'EAGAIN' && telling.type !== 'progress')
      setTimeout(() => tell(telling), 10)
  }
}

function end(reason: string): void {
  if (controller.signal.aborted) return
  controller.abort(new VmapipeError('ABORTED', reason))
  // If something hangs, such as a read from a dead server, the process ends without it.
  setTimeout(() => void endAtOnce(1, () => {}), GRACE_MS).unref()
}

function setRate(bytes: number | null): void {
  rate.bytes = bytes ?? Number.POSITIVE_INFINITY
}

async function run(task: Task): Promise<void> {
  setRate(task.rate)
  try {
    tell({ type: 'done', result: await perform(task, { signal: controller.signal, rate, tell }) })
  } catch (error) {
    const { code, text, message, hint } = asVmapipeError(error)
    // The hint is told apart.
    const line = hint !== undefined && text.endsWith(`; ${hint}`) ? text.slice(0, -hint.length - 2) : text
    tell({
      type: 'error',
      error: { code, message: code === 'ABORTED' ? message : line, ...(hint !== undefined && { hint }) },
    })
  }
  // Something that is still open must not keep a finished process alive.
  setTimeout(() => process.exit(0), 200).unref()
  process.stdin.destroy()
}

for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => end(`ended by ${signal}`))
let isFirst = true
createInterface({ input: process.stdin })
  .on('line', (line) => {
    const order = JSON.parse(line)
    if (isFirst) {
      isFirst = false
      void run(order as Task)
      return
    }
    const { type, ...rest } = order as Order
    if (type === 'cancel') end((rest as { reason: string }).reason)
    else setRate((rest as { rate: number | null }).rate)
  })
  .on('close', () => end('the run has ended'))
