/** What an agent does while it runs: loops that look at the host, ask for work, beat, send events, and see what is due. */

import { join } from 'node:path'
import { VmapipeError } from '../../core/errors.ts'
import { sleepUntilAborted } from '../../core/long-sleep.ts'
import { parallelOf } from '../../jobs/run/limits.ts'
import { jobFolders } from '../../jobs/state/folders.ts'
import { JobState } from '../../jobs/state/job-state.ts'
import { beatReply } from '../messages/beat.ts'
import { eventsReply } from '../messages/events.ts'
import type { HelloReply } from '../messages/hello.ts'
import { centralJob, inventoryReply } from '../messages/inventory.ts'
import { workReply } from '../messages/work.ts'
import { ArchiveLists, guestsAt } from './archives.ts'
import { Desk } from './desk.ts'
import { HostJobs } from './host-jobs.ts'
import { JobTimes } from './job-times.ts'
import { LastGood } from './last-good.ts'
import { Link } from './link.ts'
import { Nights } from './nights.ts'
import type { AgentOptions, Timing } from './options.ts'
import { Outbox } from './outbox.ts'
import { beginOwn } from './own-schedule.ts'
import type { PlannerClient } from './planner-client.ts'
import { type Scan, scan } from './scan.ts'
import { Timers } from './timers.ts'

/** Milliseconds between two looks at what is due. */
const TICK_MS = 1000
/** Events that are sent at once. */
const EVENTS_AT_ONCE = 100
/** And their bytes: a planner takes 32 MiB, and would refuse a longer message for ever. */
const EVENT_BYTES = 8 << 20
/** Milliseconds between two heartbeats if somebody looks. */
const CLOSER_MS = 1000
/** Milliseconds that the last events may take when the agent ends. */
const FAREWELL_MS = 500
const MOST_WARNINGS = 50

interface Parts {
  state: string
  runtime: string
  folder: string
  timing: Timing
  client: PlannerClient
}

export class RunningAgent {
  readonly #options: AgentOptions
  readonly #parts: Parts
  readonly #end = new AbortController()
  readonly #warnings: string[] = []
  readonly #times = new JobTimes()
  readonly #lastGood = new LastGood()
  readonly #lists = new ArchiveLists()
  readonly #timers = new Timers((level, text) => this.#log(level, text))
  #scan: Scan | null = null
  #link!: Link
  #desk!: Desk
  #jobs!: HostJobs
  #outbox!: Outbox
  #nights!: Nights
  #isCloser = false
  /** The hello after which the planner got the inventory. Before, it takes no backup of a guest that it does not know. */
  #reported: HelloReply | null = null
  #look = Promise.withResolvers<void>()

  constructor(options: AgentOptions, parts: Parts) {
    this.#options = options
    this.#parts = parts
  }

  get host(): string | null {
    return this.#link?.reply?.host ?? null
  }

  get keyFiles(): Iterable<string> {
    return this.#jobs?.keyFiles ?? []
  }

  stop(): void {
    this.#end.abort(new VmapipeError('ABORTED', 'the agent ends'))
  }

  #log(level: 'info' | 'warning', text: string): void {
    this.#options.log?.(level, text)
  }

  async run(): Promise<void> {
    const { signal } = this.#end
    await this.#open()
    const loops = [this.#link.keep(signal), this.#lookLoop(), this.#workLoop(), this.#beatLoop(), this.#eventLoop()]
    try {
      await Promise.all([...loops, this.#tickLoop()])
    } finally {
      // A loop that has failed ends the others.
      this.stop()
      await this.#desk.stop()
      await this.#nights.ended()
      await Promise.allSettled(loops)
      await this.#sendEvents(AbortSignal.timeout(FAREWELL_MS)).catch(() => {})
      await this.#outbox.flushed()
    }
  }

  async #open(): Promise<void> {
    const { state, runtime, folder, timing, client } = this.#parts
    const { version = '', labels = [], allowPlaces = [], allowSockets = [], start } = this.#options
    const warn = (text: string) => {
      this.#log('warning', text)
      this.#warnings.push(text)
      this.#warnings.splice(0, this.#warnings.length - MOST_WARNINGS)
    }
    const log = (level: 'info' | 'warning', text: string) => this.#log(level, text)
    const folders = this.#options.jobFolders ?? jobFolders()
    this.#jobs = await HostJobs.open({ folders, kept: join(folder, 'jobs'), allowPlaces, allowSockets, warn })
    this.#outbox = await Outbox.open(join(folder, 'outbox'), { warn })
    this.#nights = await Nights.open({ state, quiet: timing.quiet, log })
    const own = (await this.#jobs.all()).flatMap(({ job }) => job ?? [])
    const parallel = this.#options.parallel ?? Math.max(1, ...own.map(parallelOf))
    this.#link = new Link({ client, version, labels, parallel, timing, log })
    this.#desk = new Desk({
      ...{ jobs: this.#jobs, nights: this.#nights, lists: this.#lists, state, runtime, start, parallel, log },
      tell: (event) => void this.#outbox.add(event),
      hasEndOf: (work) => this.#outbox.hasEndOf(work),
      changed: () => this.#look.resolve(),
      report: (archives, signal) => this.#report(archives, signal),
    })
  }

  /** Looks at the host, and sends what has changed. */
  async #lookLoop(): Promise<void> {
    const { signal } = this.#end
    const { look, resend } = this.#parts.timing
    let told = ''
    let due = 0
    while (!signal.aborted) {
      this.#look = Promise.withResolvers()
      const found = await this.#scanNow(signal)
      if (found !== null && this.#link.isUp) {
        const text = JSON.stringify({ ...found.inventory, at: '', incarnation: this.#link.reply })
        if (text !== told || Date.now() >= due) {
          const hasSent = await this.#sendInventory(found, signal)
          told = hasSent ? text : ''
          due = Date.now() + resend
        }
      }
      const changed = this.#link.changed(signal).then(() => {
        // A planner that was lost may have forgotten what it was told.
        told = ''
      })
      await Promise.race([this.#look.promise, changed, this.#sleep(look)])
    }
  }

  async #scanNow(signal: AbortSignal): Promise<Scan | null> {
    const { state } = this.#parts
    const dropped = this.#outbox.dropped === 0 ? [] : [`${this.#outbox.dropped} events for the planner were dropped`]
    const warnings = [...this.#warnings, ...dropped]
    const common = { jobs: this.#jobs, times: this.#times, lastGood: this.#lastGood, timers: this.#timers }
    try {
      this.#scan = await scan({ ...common, state, warnings, signal })
      return this.#scan
    } catch (error) {
      if (!signal.aborted) this.#log('warning', `the host cannot be looked at: ${(error as Error).message}`)
      return null
    }
  }

  async #sendInventory({ inventory }: Scan, signal: AbortSignal): Promise<boolean> {
    const { client, reply: met } = this.#link
    const reply = await this.#ask(() => client.post('/agent/v1/inventory', inventory, inventoryReply, { signal }))
    if (reply === null) return false
    this.#reported = met
    const fetch = (name: string) => client.get(`/agent/v1/jobs/${encodeURIComponent(name)}`, centralJob, { signal })
    const hasChanged = await this.#jobs.take(reply.central, fetch).catch((error) => {
      if (!signal.aborted) this.#log('warning', `a central job was not taken: ${error.message}`)
      return false
    })
    if (hasChanged) this.#look.resolve()
    return true
  }

  async #beatLoop(): Promise<void> {
    const { signal } = this.#end
    while (!signal.aborted) {
      const { reply } = this.#link
      if (!this.#link.isUp || reply === null) {
        await this.#link.changed(signal)
        continue
      }
      const { incarnation } = this.#link
      const said = { incarnation, clock: Date.now(), running: this.#desk.running(this.#isCloser) }
      const answer = await this.#ask(() => this.#link.client.post('/agent/v1/beat', said, beatReply, { signal }))
      if (answer !== null) {
        this.#isCloser = answer.closer
        this.#link.isDrained = answer.drained
        this.#link.warned(answer.warnings)
        for (const work of answer.stop) this.#desk.cancel(work, 'the planner has given it up')
        if (answer.jobsChanged) this.#look.resolve()
      }
      await this.#sleep(this.#isCloser ? Math.min(CLOSER_MS, reply.heartbeat) : reply.heartbeat)
    }
  }

  async #workLoop(): Promise<void> {
    const { signal } = this.#end
    const { poll } = this.#parts.timing
    while (!signal.aborted) {
      if (!this.#link.isUp) {
        await this.#link.changed(signal)
        continue
      }
      // What it did by itself is told before it asks for guests: the planner would give the same again.
      const isBehind = this.#outbox.hasOwnEnd()
      const free = this.#link.isDrained || isBehind ? 0 : this.#desk.free
      const asked = { free, wait: isBehind ? TICK_MS : poll }
      const began = Date.now()
      const answer = await this.#ask(() =>
        this.#link.client.post('/agent/v1/work', asked, workReply, { signal, wait: asked.wait }),
      )
      if (answer !== null && !signal.aborted) this.#desk.take(answer.works)
      // A planner that answers nothing at once is not asked a thousand times a second.
      if (answer?.works.length === 0 && Date.now() - began < TICK_MS) await this.#sleep(TICK_MS)
    }
  }

  async #eventLoop(): Promise<void> {
    const { signal } = this.#end
    const { retry } = this.#parts.timing
    while (!signal.aborted) {
      const added = this.#outbox.added(signal)
      if (!this.#link.isUp) await this.#link.changed(signal)
      else if (this.#outbox.size === 0) await Promise.race([added, this.#link.changed(signal)])
      // Nothing was taken: it is not sent again at once.
      else if (!(await this.#sendEvents(signal))) await this.#sleep(retry)
    }
  }

  /** True if something was taken. */
  async #sendEvents(signal: AbortSignal): Promise<boolean> {
    const events = this.#outbox.first(EVENTS_AT_ONCE, EVENT_BYTES)
    if (events.length === 0 || !this.#link.isUp) return false
    const isEarly = this.#reported !== this.#link.reply
    const answer = await this.#ask(
      () => this.#link.client.post('/agent/v1/events', { events }, eventsReply, { signal }),
      signal,
    )
    if (answer === null) return false
    await this.#outbox.answered(events, answer.taken, isEarly)
    return answer.taken.length > 0
  }

  /** Each second: what is due while the planner is away, and nights that have ended. */
  async #tickLoop(): Promise<void> {
    const { signal } = this.#end
    const { grace } = this.#parts.timing
    const { state } = this.#parts
    while (!signal.aborted) {
      const jobs = this.#scan?.jobs
      if (jobs !== undefined) {
        if (this.#link.away >= grace && !this.#link.isDrained)
          await beginOwn(jobs, { desk: this.#desk, times: this.#times, state })
        this.#nights.look(jobs, (job, due) => this.#desk.isRunning(job, due), signal)
      }
      await this.#sleep(TICK_MS)
    }
  }

  /** Sends the inventory and, if asked, each archive at the places of the jobs. */
  async #report(archives: boolean, signal: AbortSignal): Promise<void> {
    const found = await this.#scanNow(signal)
    if (found === null) throw new VmapipeError('FAILED', 'the host cannot be looked at')
    await this.#sendInventory(found, signal)
    if (!archives) return
    const warn = (text: string) => this.#log('warning', text)
    for (const { name, job, guests } of found.jobs) {
      if (job === null) continue
      // Those that it had count too: a list that is empty now is told. The places tell of others, if the host's own state was lost.
      const states = await new JobState(this.#parts.state, name, () => {}).guests()
      const there = await guestsAt(job, { signal, warn })
      for (const guest of new Set([...guests.map((one) => one.name), ...states.keys(), ...there])) {
        for (const event of await this.#lists.of(job, guest, { signal, warn }, true)) await this.#outbox.add(event)
      }
    }
  }

  #ask<T>(request: () => Promise<T>, signal = this.#end.signal): Promise<T | null> {
    return this.#link.ask(signal, request).catch(() => null)
  }

  async #sleep(milliseconds: number): Promise<void> {
    await sleepUntilAborted(milliseconds, this.#end.signal).catch(() => {})
  }
}
