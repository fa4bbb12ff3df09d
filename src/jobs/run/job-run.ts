/**
 * One run of a job: its guests are found, and backed up within the limits. It tells by events how it goes, and can be slowed, hurried and
 * canceled while it goes on. The first guests are those that have been without a backup the longest; of two, the one whose disk does less.
 */

import { randomBytes } from 'node:crypto'
import { asVmapipeError, VmapipeError } from '../../core/errors.ts'
import { type Clock, systemClock } from '../clock.ts'
import type { Job } from '../file/schema.ts'
import { disksOf } from '../guests/disks.ts'
import { findGuests } from '../guests/find.ts'
import { isGone } from '../guests/presence.ts'
import type { RunReport } from '../report.ts'
import { ownFolder, runtimeFolder, stateFolder } from '../state/folders.ts'
import { type GuestState, JobState } from '../state/job-state.ts'
import { bootInTurn } from './boot-turn.ts'
import { chosenGuests } from './chosen.ts'
import { closeRun, tellStart } from './close-run.ts'
import { serveControl } from './control.ts'
import type { RunEvent, RunStatus } from './events.ts'
import { GuestRun, type RunContext } from './guest-run.ts'
import { runHook } from './hooks.ts'
import type { JobOptions } from './job-options.ts'
import { limitsOf, parallelOf } from './limits.ts'
import { makeReport, remember } from './make-report.ts'
import { reachablePlaces } from './places.ts'
import { Queue } from './queue.ts'
import { Rates } from './rates.ts'
import { isLasting, retriesOf } from './retries.ts'
import { sampleInTurn } from './sample-turn.ts'
import { type Held, Slots } from './slots.ts'
import { nextEnd, untilOpen } from './window.ts'
import { startWorker } from './worker.ts'

const DEFAULT_SLOW = 10 << 20

export class JobRun {
  readonly #job: Job
  readonly #options: JobOptions
  readonly #clock: Clock
  readonly #run: string
  readonly #started: number
  readonly #end = new AbortController()
  readonly #rates: Rates
  readonly #state: JobState
  readonly #notes: string[] = []
  #guests: GuestRun[] = []
  #removed: RunReport['removed'] = []
  #doing = 'beginning'
  #statusDue = 0

  constructor(job: Job, options: JobOptions = {}) {
    const { clock = systemClock, signal, state = stateFolder() } = options
    this.#job = job
    this.#options = options
    this.#clock = clock
    this.#started = clock.now()
    const time = new Date(this.#started).toISOString().replace(/[-:]|\.\d+/g, '')
    this.#run = `${time}-${randomBytes(3).toString('hex')}`
    this.#rates = new Rates(job.limits?.rate ?? null)
    this.#state = new JobState(state, job.name, (text) => this.#note('warning', text))
    signal?.addEventListener('abort', () => this.cancel(asVmapipeError(signal.reason).message), { once: true })
    if (signal?.aborted) this.cancel(asVmapipeError(signal.reason).message)
  }

  get status(): RunStatus {
    return {
      version: 1,
      job: this.#job.name,
      run: this.#run,
      pid: process.pid,
      started: new Date(this.#started).toISOString(),
      doing: this.#doing,
      rate: this.#rates.total,
      guests: this.#guests.map(({ progress }) => progress),
    }
  }

  /** Ends the run; its guests are free within two seconds. */
  cancel(reason = 'canceled'): void {
    if (this.#end.signal.aborted) return
    this.#end.abort(new VmapipeError('ABORTED', reason))
    for (const guest of this.#guests) guest.cancel(reason)
  }

  get rate(): number | null {
    return this.#rates.total
  }

  /** Bytes a second of all guests together; null for no limit. */
  set rate(rate: number | null) {
    this.#rates.total = rate
    this.#saveStatus(true)
  }

  /** Errors: FAILED if the job runs already, USAGE for guests that it does not have. All else is in the report. */
  async run(): Promise<RunReport> {
    const runtime = await ownFolder(this.#options.runtime ?? runtimeFolder())
    const slots = new Slots(runtime)
    const job = await slots.take([{ name: `job:${this.#job.name}`, count: 1 }])
    if ('full' in job) {
      throw new VmapipeError('FAILED', `the job '${this.#job.name}' is running already`, {
        hint: `vmapipe job status ${this.#job.name} shows it, vmapipe job cancel ${this.#job.name} ends it`,
      })
    }
    const control = await serveControl(runtime, this).catch((error) => {
      this.#note('warning', `the run cannot be asked how it is doing: ${error.message}`)
      return null
    })
    try {
      if (this.#options.tell)
        await tellStart(this.#job, this.#report(undefined, null), (text) => this.#note('warning', text))
      const problem = await this.#whole(slots)
      return await this.#close(problem)
    } finally {
      await this.#state.saveStatus(null)
      await control?.close()
      await job.release()
    }
  }

  /** Returns what failed for all guests alike. */
  async #whole(slots: Slots): Promise<string | undefined> {
    const { signal } = this.#end
    try {
      if (!this.#options.ignoreWindow) await untilOpen(this.#job, this.#clock, signal, (text) => this.#say(text))
      this.#say('finding guests')
      const { guests, errors, warnings } = await findGuests(this.#job, signal)
      for (const text of [...errors, ...warnings]) this.#note('warning', text)
      const chosen = chosenGuests(guests, this.#options.guests, this.#job.name)
      const states = await this.#state.guests()
      const context = this.#context()
      this.#guests = chosen.map((guest) => new GuestRun(guest, context))
      this.#emit({ type: 'begin', run: this.#run, guests: chosen.map(({ name }) => name) })
      if (chosen.length === 0) return errors[0] ?? 'no guest was found'
      context.places = await reachablePlaces(this.#job, {
        clock: this.#clock,
        signal,
        say: (text) => this.#say(text),
        warn: (text) => this.#note('warning', text),
      })
      await runHook(this.#job, 'start', { about: { run: this.#run, guests: chosen.length }, signal })
      this.#say('backing up')
      await this.#queue(slots, states)
      const dead = await bootInTurn(this.#job, this.#guests, states, this.#clock.now())
      await this.#state.saveGuests(states)
      if (dead !== null) errors.push(dead)
      const warn = (text: string) => this.#note('warning', text)
      errors.push(...(await sampleInTurn(this.#job, context.places, { signal, warn })))
      return errors.length > 0 ? errors.join('; ') : undefined
    } catch (error) {
      const failure = asVmapipeError(error)
      if (failure.code === 'USAGE' && this.#guests.length === 0) throw failure
      const outcome = failure.code === 'ABORTED' ? 'canceled' : 'skipped'
      for (const guest of this.#guests) {
        if (guest.progress.phase === 'waiting') await guest.end(outcome, failure)
      }
      return failure.code === 'ABORTED' ? failure.message : failure.text
    }
  }

  #context(): RunContext {
    return {
      job: this.#job,
      run: this.#run,
      signal: this.#end.signal,
      now: () => this.#clock.now(),
      start: this.#options.start ?? startWorker,
      rates: this.#rates,
      places: [],
      full: this.#options.full ?? false,
      removed: this.#removed,
      changed: ({ progress }) => {
        this.#emit({ type: 'guest', progress })
        this.#saveStatus(progress.snapshot === null)
      },
      note: (level, text, guest) => this.#emit({ type: 'note', level, text, ...(guest !== undefined && { guest }) }),
    }
  }

  async #queue(slots: Slots, states: Map<string, GuestState>): Promise<void> {
    const { limits = {} } = this.#job
    const disks = new Map<GuestRun, string[]>()
    if (limits['per-disk'] !== undefined)
      for (const guest of this.#guests) disks.set(guest, await disksOf(guest.guest, this.#end.signal))
    const queue = new Queue({
      guests: this.#guests,
      parallel: parallelOf(this.#job),
      clock: this.#clock,
      signal: this.#end.signal,
      since: ({ guest }) => Date.parse(states.get(guest.name)?.success ?? '') || 0,
      disks: (guest) => disks.get(guest) ?? [],
      take: (guest) => slots.take(limitsOf(this.#job, guest.guest, disks.get(guest) ?? [])),
      work: (guest, held) => this.#work(guest, held, states),
    })
    const ended = new AbortController()
    const watch = this.#watchWindow(queue, ended.signal)
    try {
      await queue.run()
    } finally {
      ended.abort()
      await watch
    }
  }

  /** Backs a guest up. True if it is to be tried again. */
  async #work(guest: GuestRun, held: Held, states: Map<string, GuestState>): Promise<boolean> {
    try {
      await guest.attempt()
      remember(guest, states, this.#clock.now())
      guest.phase('done')
      await this.#state.saveGuests(states)
      return false
    } catch (error) {
      return await this.#failed(guest, asVmapipeError(error))
    } finally {
      await held.release()
    }
  }

  /** True if it is to be tried again. */
  async #failed(guest: GuestRun, error: VmapipeError): Promise<boolean> {
    if (guest.isCanceled || this.#end.signal.aborted) {
      await guest.end(
        'canceled',
        new VmapipeError(
          'ABORTED',
          this.#end.signal.aborted ? asVmapipeError(this.#end.signal.reason).message : error.message,
        ),
      )
      return false
    }
    const gone = await isGone(guest.guest)
    if (gone !== null) {
      await guest.end(
        'failed',
        new VmapipeError('FAILED', `${gone}: ${error.message}`, {
          hint: 'has it moved to another host, or was it shut down?',
        }),
      )
      return false
    }
    const { count, delay } = retriesOf(this.#job)
    if (isLasting(error) || guest.report.attempts > count) {
      await guest.end('failed', error)
      return false
    }
    guest.notBefore = this.#clock.now() + delay
    Object.assign(guest.progress, { reason: error.text, again: new Date(guest.notBefore).toISOString() })
    guest.phase('retry')
    this.#note('warning', `${error.text}; it is tried again at ${guest.progress.again}`, guest.guest.name)
    return true
  }

  /** Does at the end of the window what the job says. */
  async #watchWindow(queue: Queue<GuestRun>, signal: AbortSignal): Promise<void> {
    const { window, 'at-end': atEnd = 'finish', 'slow-rate': slow = DEFAULT_SLOW } = this.#job.limits ?? {}
    if (window === undefined || this.#options.ignoreWindow) return
    try {
      await this.#clock.sleep(nextEnd(window, this.#clock.now()) - this.#clock.now(), signal)
    } catch {
      return
    }
    const reason = 'the window has ended'
    this.#note('info', `${reason}: no more guests are begun`)
    queue.close((guest) =>
      guest.end(
        'skipped',
        new VmapipeError('FAILED', `${reason} before its turn`, { hint: 'it is the first in the next run' }),
      ),
    )
    if (atEnd === 'slow') this.rate = slow
    if (atEnd === 'stop') for (const guest of queue.running) guest.cancel(reason)
  }

  async #close(problem: string | undefined): Promise<RunReport> {
    const report = this.#report(problem, (await this.#options.next?.().catch(() => null)) ?? null)
    await closeRun(this.#job, report, {
      state: this.#state,
      tell: this.#options.tell ?? false,
      warn: (text) => this.#note('warning', text),
    })
    this.#emit({ type: 'end', report })
    return report
  }

  #report(problem: string | undefined, next: string | null): RunReport {
    return makeReport({
      ...{ job: this.#job.name, run: this.#run, started: this.#started, ended: this.#clock.now(), problem, next },
      guests: this.#guests.map(({ report }) => report),
      warnings: this.#notes,
      removed: this.#removed,
    })
  }

  #say(doing: string): void {
    this.#doing = doing
    this.#saveStatus(true)
  }

  #note(level: 'info' | 'warning', text: string, guest?: string): void {
    if (level === 'warning' && guest === undefined) this.#notes.push(text)
    this.#emit({ type: 'note', level, text, ...(guest !== undefined && { guest }) })
  }

  #emit(event: RunEvent): void {
    this.#options.onEvent?.(event)
  }

  /** Progress is saved once a second, all else at once. */
  #saveStatus(isNew: boolean): void {
    const now = performance.now()
    if (!isNew && now < this.#statusDue) return
    this.#statusDue = now + 1000
    void this.#state.saveStatus(this.status)
  }
}

/**
 * Runs a job once. All that happens to its guests is in the report. Errors: FAILED if it runs already, USAGE for guests that it does not
 * have.
 *
 *     const { outcome, guests } = await runJob(await loadJob('/etc/vmapipe/jobs/nightly.yaml'))
 */
export function runJob(job: Job, options: JobOptions = {}): Promise<RunReport> {
  return new JobRun(job, options).run()
}
