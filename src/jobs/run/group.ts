/**
 * The runs of one job that go on in this process, and what they have in common: the lock of the job, its socket and status, the rate, what
 * is remembered of guests, and the hooks of beginning and end. Most runs are alone. A fleet gives a host one guest at a time, so there
 * several parts of a night run side by side.
 */

import { VmapipeError } from '../../core/errors.ts'
import type { Clock } from '../clock.ts'
import type { Job } from '../file/schema.ts'
import type { GuestState, JobState } from '../state/job-state.ts'
import { serveControl } from './control.ts'
import type { RunStatus } from './events.ts'
import { Rates } from './rates.ts'
import { type Held, Slots } from './slots.ts'

/** A run, as far as the group needs it. */
interface Member {
  readonly status: RunStatus
  cancel(reason: string, guest?: string): void
}

interface JoinOptions {
  runtime: string
  state: JobState
  /** Whether other parts may run beside it. Then it waits for a run that is none. */
  part: boolean
  clock: Clock
  signal: AbortSignal
  say: (text: string) => void
  warn: (text: string) => void
}

/** Those of parts, by folder of locks and job; null if another process has the lock. */
const opened = new Map<string, Promise<RunGroup | null>>()

/** Milliseconds after which a part tries again to get the lock of its job. */
const BUSY_MS = 1000

export class RunGroup {
  readonly slots: Slots
  readonly rates: Rates
  readonly #state: JobState
  readonly #lock: Held
  readonly #members = new Set<Member>()
  #control: Promise<{ close(): Promise<void> } | null> | null = null
  #isClosed = false
  #states: Promise<Map<string, GuestState>> | null = null
  #hasBegun = false
  #turn: Promise<unknown> = Promise.resolve()
  #statusDue = 0

  private constructor(job: Job, slots: Slots, lock: Held, state: JobState) {
    this.slots = slots
    this.#lock = lock
    this.#state = state
    this.rates = new Rates(job.limits?.rate ?? null)
  }

  /** Errors: FAILED if the job runs already and this is no part, ABORTED. */
  static async join(job: Job, member: Member, options: JoinOptions): Promise<RunGroup> {
    const { runtime, part, clock, signal, say } = options
    const key = `${runtime}\0${job.name}`
    for (let isFirst = true; ; isFirst = false) {
      const opening = (part ? opened.get(key) : undefined) ?? RunGroup.#open(job, options)
      // Parts that come while the lock is taken are of this group too.
      if (part) opened.set(key, opening)
      const group = await opening.catch((error) => {
        opened.delete(key)
        throw error
      })
      if (group !== null && !group.#isClosed) {
        group.#members.add(member)
        await group.#serve(options)
        return group
      }
      if (opened.get(key) === opening) opened.delete(key)
      if (!part) {
        throw new VmapipeError('FAILED', `the job '${job.name}' is running already`, {
          hint: `vmapipe job status ${job.name} shows it, vmapipe job cancel ${job.name} ends it`,
        })
      }
      if (isFirst) say('waiting for another run of the job')
      await clock.sleep(BUSY_MS, signal)
    }
  }

  /** Null if another process runs the job. */
  static async #open(job: Job, { runtime, state }: JoinOptions): Promise<RunGroup | null> {
    const slots = new Slots(runtime)
    const lock = await slots.take([{ name: `job:${job.name}`, count: 1 }])
    return 'full' in lock ? null : new RunGroup(job, slots, lock, state)
  }

  /** The first member opens the socket: its status is asked for. */
  #serve({ runtime, warn }: JoinOptions): Promise<unknown> {
    this.#control ??= serveControl(runtime, this).catch((error) => {
      warn(`the run cannot be asked how it is doing: ${error.message}`)
      return null
    })
    return this.#control
  }

  /** Of all its runs together. */
  get status(): RunStatus {
    const all = [...this.#members].map(({ status }) => status)
    const [first] = all
    if (all.length <= 1) return first
    const started = all.map((one) => one.started).sort()[0]
    const doing = [...new Set(all.map((one) => one.doing))].join('; ')
    return { ...first, started, doing, guests: all.flatMap(({ guests }) => guests) }
  }

  get rate(): number | null {
    return this.rates.total
  }

  /** Bytes a second of all guests together; null for no limit. */
  set rate(rate: number | null) {
    this.rates.total = rate
    this.saveStatus(true)
  }

  cancel(reason: string, guest?: string): void {
    for (const member of this.#members) member.cancel(reason, guest)
  }

  /** What is remembered of the guests. All runs change the same map. */
  states(): Promise<Map<string, GuestState>> {
    this.#states ??= this.#state.guests()
    return this.#states
  }

  saveStates(): Promise<void> {
    return this.inTurn(async () => this.#state.saveGuests(await this.states()))
  }

  /** Does the work when what was given before has ended. */
  inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#turn.then(work)
    this.#turn = done.catch(() => {})
    return done
  }

  /** The first run does what is done before all guests. Errors: those of the work. */
  begin(work: () => Promise<void>): Promise<void> {
    return this.inTurn(async () => {
      if (this.#hasBegun) return
      await work()
      this.#hasBegun = true
    })
  }

  /** The last run does what is done after all guests. */
  end(work: () => Promise<void>): Promise<void> {
    return this.inTurn(async () => {
      if (!this.#hasBegun || this.#members.size > 1) return
      this.#hasBegun = false
      await work()
    })
  }

  /** Progress is saved once a second, all else at once. */
  saveStatus(isNew: boolean): void {
    const now = performance.now()
    if ((!isNew && now < this.#statusDue) || this.#members.size === 0) return
    this.#statusDue = now + 1000
    void this.#state.saveStatus(this.status)
  }

  async leave(member: Member): Promise<void> {
    this.#members.delete(member)
    if (this.#members.size > 0) return this.saveStatus(true)
    this.#isClosed = true
    await this.#turn
    await this.#state.saveStatus(null)
    await (await this.#control)?.close()
    await this.#lock.release()
  }
}
