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
import { closeRun, keepPart, runEndHook, tellStart } from './close-run.ts'
import { doneAlready } from './done-already.ts'
import type { RunEvent, RunStatus } from './events.ts'
import { RunGroup } from './group.ts'
import { GuestRun, type RunContext } from './guest-run.ts'
import { runHook } from './hooks.ts'
import type { JobOptions } from './job-options.ts'
import { limitsOf, parallelOf } from './limits.ts'
import { makeReport, remember } from './make-report.ts'
import { runOfDue } from './merge-reports.ts'
import { reachablePlaces } from './places.ts'
import { summedRemovals } from './prune-guest.ts'
import { Queue } from './queue.ts'
import { isLasting, retriesOf } from './retries.ts'
import { sampleInTurn } from './sample-turn.ts'
import type { Held } from './slots.ts'
import { untilOpen } from './window.ts'
import { watchWindow } from './window-end.ts'
import { startWorker } from './worker.ts'

export class JobRun {
  readonly #job: Job
  readonly #options: JobOptions
  readonly #clock: Clock
  readonly #run: string
  readonly #started: number
  readonly #end = new AbortController()
  readonly #state: JobState
  readonly #notes: string[] = []
  #guests: GuestRun[] = []
  #removed: RunReport['removed'] = []
  #doing = 'beginning'
  #group: RunGroup | null = null

  constructor(job: Job, options: JobOptions = {}) {
    const { clock = systemClock, signal, state = stateFolder() } = options
    this.#job = job
    this.#options = options
    this.#clock = clock
    this.#started = clock.now()
    const time = new Date(this.#started).toISOString().replace(/[-:]|\.\d+/g, '')
    this.#run = options.due === undefined ? `${time}-${randomBytes(3).toString('hex')}` : runOfDue(options.due)
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
      rate: this.rate,
      guests: this.#guests.map(({ progress }) => progress),
    }
  }

  /** Ends the run, or one guest's backup; the guests are free within two seconds. */
  cancel(reason = 'canceled', guest?: string): void {
    if (guest === undefined && !this.#end.signal.aborted) this.#end.abort(new VmapipeError('ABORTED', reason))
    for (const one of this.#guests) if (guest === undefined || one.guest.name === guest) one.cancel(reason)
  }

  /** Errors: FAILED if the job runs already, USAGE for guests that it does not have. All else is in the report. */
  async run(): Promise<RunReport> {
    const runtime = await ownFolder(this.#options.runtime ?? runtimeFolder())
    const group = await RunGroup.join(this.#job, this, {
      ...{
        runtime,
        state: this.#state,
        part: this.#options.part ?? false,
        clock: this.#clock,
        signal: this.#end.signal,
      },
      say: (text) => this.#say(text),
      warn: (text) => this.#note('warning', text),
    })
    this.#group = group
    const warn = (text: string) => this.#note('warning', text)
    try {
      if (this.#options.tell) await tellStart(this.#job, this.#report(undefined, null), warn)
      const problem = await this.#whole(group)
      return await this.#close(group, problem)
    } finally {
      // A part that did not get to its end may be the last one.
      if (this.#options.part) await group.end(() => runEndHook(this.#job, this.#report(undefined, null), warn))
      await group.leave(this)
    }
  }

  get rate(): number | null {
    return this.#group === null ? (this.#job.limits?.rate ?? null) : this.#group.rate
  }

  /** Bytes a second of all guests together; null for no limit. */
  set rate(rate: number | null) {
    if (this.#group !== null) this.#group.rate = rate
  }

  /** Returns what failed for all guests alike. */
  async #whole(group: RunGroup): Promise<string | undefined> {
    const { signal } = this.#end
    try {
      if (await this.#isDone(group)) return undefined
      const { ignoreWindow = false, isWindowOpen = false } = this.#options
      if (!ignoreWindow && !isWindowOpen) await untilOpen(this.#job, this.#clock, signal, (text) => this.#say(text))
      this.#say('finding guests')
      const { guests, errors, warnings } = await findGuests(this.#job, signal)
      for (const text of [...errors, ...warnings]) this.#note('warning', text)
      const chosen = chosenGuests(guests, this.#options.guests, this.#job.name)
      const states = await group.states()
      const context = this.#context(group)
      this.#guests = chosen.map((guest) => new GuestRun(guest, context))
      this.#emit({ type: 'begin', run: this.#run, guests: chosen.map(({ name }) => name) })
      if (chosen.length === 0) return errors[0] ?? 'no guest was found'
      context.places = await reachablePlaces(this.#job, {
        clock: this.#clock,
        signal,
        say: (text) => this.#say(text),
        warn: (text) => this.#note('warning', text),
      })
      await group.begin(() => runHook(this.#job, 'start', { about: { run: this.#run, guests: chosen.length }, signal }))
      this.#say('backing up')
      await this.#queue(group, states)
      const night = this.#options.part ? await this.#state.report(this.#run) : undefined
      const dead = await bootInTurn(this.#job, this.#guests, states, { now: this.#clock.now(), night })
      await group.saveStates()
      if (dead !== null) errors.push(dead)
      const warn = (text: string) => this.#note('warning', text)
      if (!this.#options.part) errors.push(...(await sampleInTurn(this.#job, context.places, { signal, warn })))
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

  /** Takes the guests as done if all of them have the archive of the time at which they were due. */
  async #isDone(group: RunGroup): Promise<boolean> {
    const { due, guests } = this.#options
    const all = await doneAlready(this.#job, { due, guests, signal: this.#end.signal })
    if (all === null) return false
    const context = this.#context(group)
    this.#guests = all.map(({ guest }) => new GuestRun(guest, context))
    this.#emit({ type: 'begin', run: this.#run, guests: all.map(({ guest }) => guest.name) })
    for (const [at, run] of this.#guests.entries()) {
      run.takeDone(all[at].found)
      run.phase('done')
    }
    return true
  }

  #context(group: RunGroup): RunContext {
    return {
      job: this.#job,
      run: this.#run,
      signal: this.#end.signal,
      now: () => this.#clock.now(),
      start: this.#options.start ?? startWorker,
      rates: group.rates,
      places: [],
      full: this.#options.full ?? false,
      due: this.#options.due,
      removed: this.#removed,
      changed: ({ progress }) => {
        this.#emit({ type: 'guest', progress })
        group.saveStatus(progress.snapshot === null)
      },
      note: (level, text, guest) => this.#emit({ type: 'note', level, text, ...(guest !== undefined && { guest }) }),
    }
  }

  async #queue(group: RunGroup, states: Map<string, GuestState>): Promise<void> {
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
      take: (guest) => group.slots.take(limitsOf(this.#job, guest.guest, disks.get(guest) ?? [])),
      work: (guest, held) => this.#work(guest, held, states),
    })
    const ended = new AbortController()
    const watch = this.#options.ignoreWindow
      ? undefined
      : watchWindow(this.#job, queue, {
          clock: this.#clock,
          signal: ended.signal,
          note: (text) => this.#note('info', text),
          setRate: (rate) => {
            group.rate = rate
          },
        })
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
      await this.#group!.saveStates()
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

  async #close(group: RunGroup, problem: string | undefined): Promise<RunReport> {
    const { due, part = false, tell = false } = this.#options
    const report = this.#report(problem, (await this.#options.next?.().catch(() => null)) ?? null)
    const warn = (text: string) => this.#note('warning', text)
    const isNothing = report.guests.length > 0 && report.guests.every(({ already }) => already)
    if (part) await group.end(() => runEndHook(this.#job, report, warn))
    else if (!isNothing) await runEndHook(this.#job, report, warn)
    if (!isNothing) {
      const whole = due === undefined ? report : await group.inTurn(() => keepPart(report, this.#state))
      const options = { state: this.#state, states: await group.states(), tell, warn }
      if (!part) await closeRun(this.#job, whole, options)
    }
    this.#emit({ type: 'end', report })
    return report
  }

  #report(problem: string | undefined, next: string | null): RunReport {
    return makeReport({
      ...{ job: this.#job.name, run: this.#run, started: this.#started, ended: this.#clock.now(), problem, next },
      guests: this.#guests.map(({ report }) => report),
      warnings: this.#notes,
      removed: summedRemovals(this.#removed),
    })
  }

  #say(doing: string): void {
    this.#doing = doing
    this.#group?.saveStatus(true)
  }

  #note(level: 'info' | 'warning', text: string, guest?: string): void {
    if (level === 'warning' && guest === undefined) this.#notes.push(text)
    this.#emit({ type: 'note', level, text, ...(guest !== undefined && { guest }) })
  }

  #emit(event: RunEvent): void {
    this.#options.onEvent?.(event)
  }
}
