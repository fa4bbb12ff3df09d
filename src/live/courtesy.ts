/**
 * Lets a guest go first. Its requests are answered before each piece that was scanned, and while it is busy the scan rests for a
 * multiple of the time that it works. A backup may take longer, a guest's request may not.
 */

import { setImmediate as otherEvents, setTimeout as sleep } from 'node:timers/promises'
import type { ClusterItem } from '../core/items.ts'
import { defineStage, z } from '../core/stage.ts'

/** Milliseconds of rest for each millisecond of work. */
const REST = 6
/** A longer time since the last piece was waiting, not work. */
const LONGEST_WORK_MS = 10
/** Milliseconds until the next check whether the sink has caught up with the copies. */
const PRESSED_MS = 10
/** The scan goes on after this time in any case: its data may be just what a stage behind it waits for, such as to fill an extent. */
const LONGEST_PRESSED_MS = 1000

export const courtesy = defineStage({
  name: 'courtesy',
  summary: "lets a guest's requests go first",
  input: 'clusters',
  output: 'clusters',
  paces: true,
  options: z.strictObject({
    requests: z
      .custom<() => number>((value) => typeof value === 'function')
      .describe('how many the guest has made so far'),
    crowd: z
      .number()
      .positive()
      .optional()
      .describe(
        'requests for each cluster of the scan at which it rests in full, and for fewer it rests less; without it one is enough',
      ),
    pressed: z
      .custom<() => boolean>((value) => typeof value === 'function')
      .describe('whether copies for the guest are all that the sink can take'),
  }),
  create({ requests, crowd, pressed }, { signal }) {
    let seen = requests()
    let begun = performance.now()
    return async (item: ClusterItem) => {
      await otherEvents()
      if (item.kind === 'manifest' || item.isZero) return item
      const now = requests()
      const made = now - seen
      const busy = crowd === undefined ? Math.min(1, made) : Math.min(1, made / (item.count * crowd))
      seen = now
      const worked = Math.min(performance.now() - begun, LONGEST_WORK_MS)
      // An abort only ends the rest; the runner does everything else.
      if (busy > 0) await sleep(worked * REST * busy, undefined, { signal }).catch(() => {})
      const until = performance.now() + LONGEST_PRESSED_MS
      while (pressed() && !signal.aborted && performance.now() < until)
        await sleep(PRESSED_MS, undefined, { signal }).catch(() => {})
      begun = performance.now()
      return item
    }
  },
})
