/** Limits the bytes per second. Put it behind a source to spare its disk, or before a sink to spare a network. */

import { setTimeout as sleep } from 'node:timers/promises'
import type { Item } from '../core/items.ts'
import { byteRate } from '../core/size.ts'
import { defineStage, z } from '../core/stage.ts'

/** Seconds whose bytes may pass at once. */
const BURST_SECONDS = 0.25

/** A timer of Node takes 32 bits, and a longer one is over at once. */
const LONGEST_SLEEP_MS = 2 ** 31 - 1

export const rateLimit = defineStage({
  name: 'rate-limit',
  summary: 'limits the bytes per second',
  input: 'any',
  output: 'same',
  paces: true,
  options: z.strictObject({ rate: byteRate().describe('bytes a second, such as 50MiB/s') }),
  create({ rate }, { signal }) {
    // The time at which the bytes that have passed are within the rate.
    let due = 0
    return async (item: Item) => {
      const now = performance.now() / 1000
      due = Math.max(due, now - BURST_SECONDS) + weight(item) / rate
      for (let ms = (due - now) * 1000; ms > 0; ms -= LONGEST_SLEEP_MS) {
        await sleep(Math.min(ms, LONGEST_SLEEP_MS), undefined, { signal })
      }
      return item
    }
  },
})

/** The bytes of an item that count. Holes and zeroes count as none. */
function weight(item: Item): number {
  if (item.kind === 'chunk') return item.byteLength
  if (item.kind === 'run') return item.isZero ? 0 : item.byteLength
  if (item.kind === 'range') return item.data === null ? 0 : item.length
  return 0
}
