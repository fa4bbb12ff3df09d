/** A clock of the test's own, and backups that are made up: for the order of a night, which no archive is needed for. */

import { VmapipeError } from '../../../src/core/errors.ts'
import type { Clock } from '../../../src/jobs/clock.ts'
import type { Task } from '../../../src/jobs/run/task.ts'
import type { StartTask } from '../../../src/jobs/run/worker.ts'

interface Sleeper {
  at: number
  wake: () => void
}

/** So many looks, 5 ms apart, without anything that begins or ends: what takes real time, such as a lock, has ended then. */
const QUIET_LOOKS = 20

/** Time goes on only by `sleep`s: when nothing else is done, the one that ends first ends. */
export class TestClock implements Clock {
  #now: number
  readonly #sleepers = new Set<Sleeper>()
  #timer: NodeJS.Timeout | null = null
  #quiet = 0

  constructor(now: string) {
    this.#now = new Date(now).getTime()
  }

  now(): number {
    return this.#now
  }

  sleep(milliseconds: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal.aborted) return reject(signal.reason)
      const sleeper = { at: this.#now + milliseconds, wake: resolve }
      this.#sleepers.add(sleeper)
      this.#quiet = 0
      signal.addEventListener('abort', () => {
        this.#sleepers.delete(sleeper)
        this.#quiet = 0
        reject(signal.reason)
      })
      this.#timer ??= setInterval(() => this.#next(), 5)
    })
  }

  #next(): void {
    const [first] = [...this.#sleepers].sort((a, b) => a.at - b.at)
    if (first === undefined) {
      clearInterval(this.#timer!)
      this.#timer = null
      return
    }
    if (++this.#quiet < QUIET_LOOKS) return
    this.#quiet = 0
    this.#sleepers.delete(first)
    this.#now = Math.max(this.#now, first.at)
    first.wake()
  }
}

/** What a made-up backup does: how long it takes on the clock, and whether it fails. */
export interface MadeUp {
  minutes?: number
  error?: VmapipeError
}

/** Backups that take time of the clock alone. `plan` is asked at each attempt. */
export function madeUpBackups(clock: TestClock, plan: (guest: string, attempt: number) => MadeUp) {
  const attempts = new Map<string, number>()
  const log: { guest: string; began: number; ended: number | null; rates: (number | null)[] }[] = []
  let most = 0
  let running = 0
  const start = ((task: Task) => {
    const guest = (task as { options: { guest: string } }).options.guest
    const attempt = (attempts.get(guest) ?? 0) + 1
    attempts.set(guest, attempt)
    const { minutes = 1, error } = plan(guest, attempt)
    const entry = { guest, began: clock.now(), ended: null as number | null, rates: [task.rate] }
    log.push(entry)
    most = Math.max(most, ++running)
    const end = new AbortController()
    const ended = clock
      .sleep(minutes * 60_000, end.signal)
      .then(() => {
        if (error !== undefined) throw error
        const { to } = (task as { options: { to: string } }).options
        return {
          places: [to],
          kind: 'full',
          uuid: '',
          ctime: 0,
          seconds: minutes * 60,
          read: 1,
          stored: 1,
          size: 1,
          verified: {},
        }
      })
      .finally(() => {
        entry.ended = clock.now()
        running--
      })
    return {
      ended,
      setRate: (rate: number | null) => void entry.rates.push(rate),
      cancel: (reason: string) => end.abort(new VmapipeError('ABORTED', reason)),
    }
  }) as unknown as StartTask
  return { start, log, most: () => most, attempts }
}
