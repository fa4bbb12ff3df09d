/** Limits the bytes per second. Put it behind a source to spare its disk, or before a sink to spare a network. */

import { dataLength, type Item } from '../core/items.ts'
import { sleepUntilAborted } from '../core/long-sleep.ts'
import { byteRate } from '../core/size-option.ts'
import { defineStage, z } from '../core/stage.ts'

/** A rate that can be changed while the run goes on: `dial` of the stage, which counts instead of its `rate`. `bytes` is bytes a second; Infinity for no limit. */
export class AdjustableRate {
  readonly #watchers = new Set<(bytes: number) => void>()
  #bytes: number

  constructor(bytes = Number.POSITIVE_INFINITY) {
    this.#bytes = bytes
  }

  get bytes(): number {
    return this.#bytes
  }

  set bytes(bytes: number) {
    if (bytes === this.#bytes) return
    this.#bytes = bytes
    for (const watcher of this.#watchers) watcher(bytes)
  }

  /** Calls `watcher` at every change, until the returned function is called: for a limit that another process keeps. */
  watch(watcher: (bytes: number) => void): () => void {
    this.#watchers.add(watcher)
    return () => void this.#watchers.delete(watcher)
  }
}

/** Seconds whose bytes may pass at once. */
const BURST_SECONDS = 0.25

/**
 * Limits the bytes per second. Takes and gives items of any kind; zeroes count as none.
 *
 *     await definePipeline([source({ from: 'vm.vma' }), rateLimit({ rate: '50MiB/s' }), sink({ to: 'copy.vma' })]).run()
 */
export const rateLimit = defineStage({
  name: 'rate-limit',
  summary: 'limits the bytes per second',
  input: 'any',
  output: 'same',
  paces: true,
  options: z.strictObject({
    rate: byteRate().describe('bytes a second, such as 50MiB/s'),
    dial: z.instanceof(AdjustableRate).optional(),
  }),
  create({ rate, dial }, { signal }) {
    // The time at which the bytes that have passed are within the rate, in seconds.
    let due = 0
    return async (item: Item) => {
      let bytes = dial?.bytes ?? rate
      due = Math.max(due, seconds() - BURST_SECONDS) + dataLength(item) / bytes
      for (let left = due - seconds(); left > 0; left = due - seconds()) {
        await sleepUntilChanged(left * 1000, dial, signal)
        // What is left of the wait is as long as the new rate says.
        const now = seconds()
        if (dial !== undefined && due > now) due = now + ((due - now) * bytes) / dial.bytes
        bytes = dial?.bytes ?? rate
      }
      return item
    }
  },
})

const seconds = () => performance.now() / 1000

/** Sleeps `ms` milliseconds, or until the rate is changed. Rejects if `signal` is aborted. */
async function sleepUntilChanged(ms: number, dial: AdjustableRate | undefined, signal: AbortSignal): Promise<void> {
  const changed = new AbortController()
  const unwatch = dial?.watch(() => changed.abort())
  try {
    await sleepUntilAborted(ms, AbortSignal.any([signal, changed.signal]))
  } catch (error) {
    if (signal.aborted) throw error
  } finally {
    unwatch?.()
  }
}
