/**
 * Ends nights: when all guests that were due at a time have been backed up one by one, or nothing of it has run for long, old archives
 * are verified in turn, metrics are written and people are told, once for all guests.
 */

import { join } from 'node:path'
import * as z from 'zod'
import { asVmapipeError } from '../../core/errors.ts'
import { closeNight } from '../../jobs/run/close-run.ts'
import { runOfDue } from '../../jobs/run/merge-reports.ts'
import { nextRun } from '../../jobs/schedule.ts'
import { readJson, writeWhole } from '../../jobs/state/files.ts'
import { JobState } from '../../jobs/state/job-state.ts'
import type { ScannedJob } from './scan.ts'

const night = z.object({ job: z.string(), due: z.number(), touched: z.number() })
type Night = z.infer<typeof night>

interface NightsOptions {
  state: string
  /** Milliseconds without a part after which a night has ended. */
  quiet: number
  log: (level: 'info' | 'warning', text: string) => void
}

export class Nights {
  readonly #options: NightsOptions
  readonly #open = new Map<string, Night>()
  #closing: Promise<void> = Promise.resolve()

  private constructor(options: NightsOptions) {
    this.#options = options
  }

  /** Those that were open when the agent ended are open still. */
  static async open(options: NightsOptions): Promise<Nights> {
    const nights = new Nights(options)
    const read = z.array(night).safeParse(await readJson(nights.#file))
    for (const one of read.data ?? []) nights.#open.set(keyOf(one.job, one.due), one)
    return nights
  }

  get #file(): string {
    return join(this.#options.state, 'fleet/nights.json')
  }

  /** A part of it has begun or ended. */
  touch(job: string, due: number): void {
    this.#open.set(keyOf(job, due), { job, due, touched: Date.now() })
    this.#save()
  }

  /** Closes the nights that have ended. `isRunning`: whether a part of it runs. */
  look(jobs: readonly ScannedJob[], isRunning: (job: string, due: number) => boolean, signal: AbortSignal): void {
    this.#closing = this.#closing.then(async () => {
      for (const [key, one] of [...this.#open]) {
        if (signal.aborted || isRunning(one.job, one.due) || !(await this.#hasEnded(one, jobs))) continue
        this.#open.delete(key)
        this.#save()
        await this.#close(one, jobs, signal)
      }
    })
  }

  async ended(): Promise<void> {
    await this.#closing
  }

  async #hasEnded({ job, due, touched }: Night, jobs: readonly ScannedJob[]): Promise<boolean> {
    if (Date.now() - touched >= this.#options.quiet) return true
    const scanned = jobs.find(({ name }) => name === job)
    const report = await new JobState(this.#options.state, job, () => {}).report(runOfDue(due))
    if (scanned === undefined || scanned.guests.length === 0 || report === null) return false
    const done = new Set(report.guests.filter(({ outcome }) => outcome === 'done').map(({ guest }) => guest))
    return scanned.guests.every(({ name }) => done.has(name))
  }

  async #close({ job: name, due }: Night, jobs: readonly ScannedJob[], signal: AbortSignal): Promise<void> {
    const { log, state } = this.#options
    const job = jobs.find((one) => one.name === name)?.job ?? null
    if (job === null) return
    const warn = (text: string) => log('warning', `${name}: ${text}`)
    try {
      const options = { state: new JobState(state, name, warn), due, tell: true, warn, signal }
      const report = await closeNight(job, { ...options, next: await nextRun(job.schedule, Date.now()) })
      if (report === null) return
      const done = report.guests.filter(({ outcome }) => outcome === 'done').length
      log(
        'info',
        `${name}: ${done} of ${report.guests.length} guests that were due at ${new Date(due).toISOString()} are backed up`,
      )
    } catch (error) {
      if (!signal.aborted) warn(`the night could not be closed: ${asVmapipeError(error).text}`)
    }
  }

  #save(): void {
    // It is only for a restart in the middle of a night.
    void writeWhole(this.#file, JSON.stringify([...this.#open.values()])).catch(() => {})
  }
}

function keyOf(job: string, due: number): string {
  return `${job} ${due}`
}
