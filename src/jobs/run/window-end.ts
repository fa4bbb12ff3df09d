/** Does at the end of the window what the job says. */

import { VmapipeError } from '../../core/errors.ts'
import type { Clock } from '../clock.ts'
import type { Job } from '../file/schema.ts'
import type { GuestRun } from './guest-run.ts'
import type { Queue } from './queue.ts'
import { nextEnd } from './window.ts'

const DEFAULT_SLOW = 10 << 20

interface WatchOptions {
  clock: Clock
  signal: AbortSignal
  note: (text: string) => void
  setRate: (rate: number) => void
}

/** Waits for the end of the window. Resolves then, or when `signal` is aborted. */
export async function watchWindow(job: Job, queue: Queue<GuestRun>, options: WatchOptions): Promise<void> {
  const { window, 'at-end': atEnd = 'finish', 'slow-rate': slow = DEFAULT_SLOW } = job.limits ?? {}
  const { clock, signal, note, setRate } = options
  if (window === undefined) return
  try {
    await clock.sleep(nextEnd(window, clock.now()) - clock.now(), signal)
  } catch {
    return
  }
  const reason = 'the window has ended'
  note(`${reason}: no more guests are begun`)
  queue.close((guest) =>
    guest.end(
      'skipped',
      new VmapipeError('FAILED', `${reason} before its turn`, { hint: 'it is the first in the next run' }),
    ),
  )
  if (atEnd === 'slow') setRate(slow)
  if (atEnd === 'stop') for (const guest of queue.running) guest.cancel(reason)
}
