/**
 * What is remembered of a job: when each guest was last backed up, the reports of its runs, and how far the run is that goes on. All of it
 * may be lost: archives tell what there is. So a disk that is full here fails no backup; a warning says so.
 */

import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import * as z from 'zod'
import { describe } from '../../core/errors.ts'
import type { RunReport } from '../report.ts'
import { readJson, writeWhole } from './files.ts'

const guestState = z.object({
  name: z.string(),
  /** When its last archive was complete, as ISO 8601; null if there was none. */
  success: z.string().nullable(),
  /** When it was last booted from an archive. */
  booted: z.string().nullable().default(null),
  /** Bytes of its last full archive at a place. */
  full: z.number().nullable().default(null),
  /** Bytes of its drives. */
  size: z.number().nullable().default(null),
  seconds: z.number().nullable().default(null),
  stored: z.number().nullable().default(null),
})

export type GuestState = z.infer<typeof guestState>

const guestsFile = z.object({ version: z.literal(1), guests: z.array(guestState) })

/** Reports that are kept. */
const MOST_REPORTS = 500

export class JobState {
  readonly folder: string
  readonly #warn: (message: string) => void
  #hasWarned = false
  /** Resolves when the status that was given last is in its file. */
  #statusSaved: Promise<void> = Promise.resolve()

  /** `state`: the folder of all jobs. */
  constructor(state: string, job: string, warn: (message: string) => void) {
    this.folder = join(state, 'jobs', job)
    this.#warn = warn
  }

  async guests(): Promise<Map<string, GuestState>> {
    const read = guestsFile.safeParse(await readJson(this.#guestsPath))
    return new Map(read.success ? read.data.guests.map((guest) => [guest.name, guest]) : [])
  }

  async saveGuests(guests: ReadonlyMap<string, GuestState>): Promise<void> {
    await this.#save(this.#guestsPath, { version: 1, guests: [...guests.values()] })
  }

  /** Keeps the report of a run that has ended, and removes the oldest ones. */
  async saveReport(report: RunReport): Promise<void> {
    await this.#save(join(this.#runsPath, `${report.run}.json`), report)
    const names = await this.#runs()
    for (const name of names.slice(0, Math.max(0, names.length - MOST_REPORTS)))
      await rm(join(this.#runsPath, name), { force: true }).catch(() => {})
  }

  /** The reports of the last runs, the newest first. */
  async reports(most: number): Promise<RunReport[]> {
    const names = (await this.#runs()).reverse().slice(0, most)
    const read = await Promise.all(names.map((name) => readJson(join(this.#runsPath, name))))
    return read.filter((report) => (report as RunReport | null)?.version === 1) as RunReport[]
  }

  /** The report of one run; null if there is none. */
  async report(run: string): Promise<RunReport | null> {
    const report = (await readJson(join(this.#runsPath, `${run}.json`))) as RunReport | null
    return report?.version === 1 ? report : null
  }

  /** How far the run is; null when it has ended. One is saved after the other: nothing comes back when the run has ended. */
  saveStatus(status: object | null): Promise<void> {
    this.#statusSaved = this.#statusSaved.then(async () => {
      if (status === null) await rm(this.#statusPath, { force: true }).catch(() => {})
      else await this.#save(this.#statusPath, status)
    })
    return this.#statusSaved
  }

  async status(): Promise<unknown> {
    return readJson(this.#statusPath)
  }

  get #guestsPath(): string {
    return join(this.folder, 'guests.json')
  }

  get #runsPath(): string {
    return join(this.folder, 'runs')
  }

  get #statusPath(): string {
    return join(this.folder, 'status.json')
  }

  /** Names begin with the time, so their order is that of the runs. */
  async #runs(): Promise<string[]> {
    const names = await readdir(this.#runsPath).catch(() => [])
    return names.filter((name) => name.endsWith('.json')).sort()
  }

  async #save(path: string, value: object): Promise<void> {
    try {
      await writeWhole(path, `${JSON.stringify(value)}\n`)
    } catch (error) {
      if (!this.#hasWarned) this.#warn(`the state of the job is not kept: ${describe(error as Error)}`)
      this.#hasWarned = true
    }
  }
}
