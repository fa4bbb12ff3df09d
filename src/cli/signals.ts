/** Ctrl-C: once to end in good order, twice to end at once. */

import { EXIT_CODES, VmapipeError } from '../core/errors.ts'

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

/** npm and our launcher pass on a signal that the terminal has already sent to everybody: this near they are one. */
const SAME_MS = 250

/** Aborts on the first signal; ends the process on one that comes later. */
export function interruptible(): { signal: AbortSignal; dispose: () => void } {
  const controller = new AbortController()
  let first = 0
  const onSignal = (name: NodeJS.Signals) => {
    const now = performance.now()
    if (!controller.signal.aborted) {
      first = now
      controller.abort(new VmapipeError('ABORTED', name === 'SIGINT' ? 'interrupted' : `ended by ${name}`))
    } else if (now - first > SAME_MS) {
      process.exit(EXIT_CODES.ABORTED)
    }
  }
  for (const name of SIGNALS) process.on(name, onSignal)
  return {
    signal: controller.signal,
    dispose: () => {
      for (const name of SIGNALS) process.off(name, onSignal)
    },
  }
}
