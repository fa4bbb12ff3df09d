/** One try: QEMU is started, watched until something is proven or the time is over, and ended. */

import { setTimeout as sleep } from 'node:timers/promises'
import { asVmapipeError, VmapipeError } from '../../core/errors.ts'
import { formatBytes } from '../../core/size.ts'
import type { LimitedUser } from './program.ts'
import { prove } from './proof.ts'
import type { Scratch } from './scratch.ts'
import type { Screen } from './screen.ts'
import { VirtualMachine } from './virtual-machine.ts'

export interface BootTrial {
  program: string
  args: readonly string[]
  user: LimitedUser | null
  screenFile: string
  pattern: RegExp | undefined
  /** Milliseconds. */
  still: number | undefined
  limit: number
  scratch: Scratch
  /** Bytes. */
  scratchSize: number
  signal: AbortSignal | undefined
}

interface Tried {
  passed: boolean
  detail: string
  screen: Screen | null
}

const MEASURE_MS = 500

/** Throws FAILED if QEMU does not start, or the guest writes too much; ABORTED. */
export async function tryBoot(trial: BootTrial): Promise<Tried> {
  const { signal, limit, pattern, still } = trial
  const machine = await VirtualMachine.start(trial)
  const begun = performance.now()
  const over = new AbortController()
  const until = signal === undefined ? over.signal : AbortSignal.any([over.signal, signal])
  try {
    const look = () => machine.look()
    const verdict = await Promise.race([
      prove(machine.qmp, machine.agent, machine.console, { pattern, still, look, signal: until }),
      machine.ended.then((words) => ({ passed: false, detail: `QEMU ended${words === '' ? '' : `: ${words}`}` })),
      sleep(limit, undefined, { signal: until }).then(() => ({ passed: false, detail: unproven(trial) })),
      tooMuch(trial, until),
    ]).catch((error) => {
      throw asVmapipeError(signal?.aborted ? signal.reason : error)
    })
    const seconds = Math.round((performance.now() - begun) / 1000)
    const screen = await machine.look()
    return { passed: verdict.passed, detail: `${verdict.detail} after ${seconds} s`, screen }
  } finally {
    over.abort()
    await machine.stop()
  }
}

function unproven({ pattern, still }: BootTrial): string {
  const wanted = [
    'the guest agent did not answer',
    ...(pattern === undefined ? [] : ['the pattern did not come on the console']),
    ...(still === undefined ? [] : ['the screen did not come to rest at a login']),
  ]
  return wanted.join(', and ')
}

/** Rejects when the guest has written more than it may. */
async function tooMuch({ scratch, scratchSize }: BootTrial, signal: AbortSignal): Promise<never> {
  for (;;) {
    await sleep(MEASURE_MS, undefined, { signal })
    if ((await scratch.used()) <= scratchSize) continue
    throw new VmapipeError('FAILED', `the guest has written more than ${formatBytes(scratchSize)}`, {
      hint: 'give a larger --scratch-size, and a folder that has so much room by --scratch',
    })
  }
}
