/**
 * The jobs of a host: its own job files, and the central ones that the planner has given it. Central ones are kept on disk, so that the host
 * goes on with them while the planner is away. A job file of the host wins over a central job of the same name.
 */

import { mkdir, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { asVmapipeError, describe, VmapipeError } from '../../core/errors.ts'
import { installedJobs } from '../../jobs/file/find-job.ts'
import { loadJob, pathIn } from '../../jobs/file/load.ts'
import type { Job } from '../../jobs/file/schema.ts'
import { readJson, writeWhole } from '../../jobs/state/files.ts'
import { refuseUnlessAllowed } from '../central/allowed.ts'
import { checkCentralJob } from '../central/rules.ts'
import { type CentralJob, centralJob, jobName } from '../messages/inventory.ts'

/** A job of the host. */
export interface HostJob {
  name: string
  isCentral: boolean
  /** Null if it cannot be run. */
  job: Job | null
  problem: string | null
}

interface HostJobsOptions {
  /** Where the host's own job files are. */
  folders: readonly string[]
  /** Where central jobs are kept. */
  kept: string
  allowPlaces: readonly string[]
  allowSockets: readonly string[]
  warn: (text: string) => void
}

const MOST_CENTRAL = 500
/** Characters of all of them: they are in memory, and each is read at every look. */
const MOST_TEXT = 4 << 20

export class HostJobs {
  readonly #options: HostJobsOptions
  readonly #central = new Map<string, CentralJob>()
  /** What they say, by name, for the text that it was read from. */
  readonly #read = new Map<string, { text: string; job: Job | VmapipeError }>()

  readonly #keyFiles = new Set([process.env.VMAPIPE_IDENTITY_FILE ?? ''].filter(Boolean))

  private constructor(options: HostJobsOptions) {
    this.#options = options
  }

  static async open(options: HostJobsOptions): Promise<HostJobs> {
    const jobs = new HostJobs(options)
    for (const file of await readdir(options.kept).catch(() => [])) {
      const read = centralJob.safeParse(await readJson(join(options.kept, file)))
      if (read.success && file === `${read.data.name}.json`) jobs.#central.set(read.data.name, read.data)
    }
    return jobs
  }

  /** Files with secret keys that jobs name, or have named. */
  get keyFiles(): ReadonlySet<string> {
    return this.#keyFiles
  }

  /** Reads all of them as they are now. */
  async all(): Promise<HostJob[]> {
    const own = await Promise.all(
      (await installedJobs([...this.#options.folders])).map(async ({ name, file }): Promise<HostJob> => {
        try {
          return { name, isCentral: false, job: await loadJob(file), problem: null }
        } catch (error) {
          return { name, isCentral: false, job: null, problem: asVmapipeError(error).line }
        }
      }),
    )
    for (const { job } of own) for (const path of job?.identity ?? []) this.#keyFiles.add(pathIn(job!, path))
    const named = own.filter(({ name }) => jobName.safeParse(name).success)
    const allowed = {
      own: named.flatMap(({ job }) => job ?? []),
      places: this.#options.allowPlaces,
      sockets: this.#options.allowSockets,
    }
    const central = [...this.#central.values()]
      .filter(({ name }) => !named.some((one) => one.name === name))
      .map(({ name, text }): HostJob => {
        try {
          const job = this.#jobIn(name, text)
          refuseUnlessAllowed(job, allowed)
          return { name, isCentral: true, job, problem: null }
        } catch (error) {
          return { name, isCentral: true, job: null, problem: asVmapipeError(error).line }
        }
      })
    return [...named, ...central].sort((a, b) => (a.name < b.name ? -1 : 1))
  }

  /** Reading thousands of lines takes long, and they rarely change. Throws CONFIG. */
  #jobIn(name: string, text: string): Job {
    let known = this.#read.get(name)
    if (known === undefined || known.text !== text) {
      known = { text, job: read(name, text) }
      this.#read.set(name, known)
    }
    if (known.job instanceof VmapipeError) throw known.job
    return known.job
  }

  /**
   * Takes the central jobs that the planner has for this host, and forgets the others. `fetch` gets the text of one. True if something has
   * changed. Errors: those of `fetch`.
   */
  async take(
    list: readonly { name: string; digest: string }[],
    fetch: (name: string) => Promise<CentralJob>,
  ): Promise<boolean> {
    let hasChanged = false
    // First what goes, so that there is room for what comes.
    for (const name of [...this.#central.keys()]) {
      if (list.some((one) => one.name === name)) continue
      this.#central.delete(name)
      this.#read.delete(name)
      await rm(this.#fileOf(name), { force: true }).catch(() => {})
      hasChanged = true
    }
    for (const { name, digest } of list.slice(0, MOST_CENTRAL)) {
      if (this.#central.get(name)?.digest === digest) continue
      const got = await fetch(name)
      // It is a file name, and the planner may have answered with another one.
      if (got.name !== name)
        throw new VmapipeError('FAILED', `the planner has answered with another job than '${name}'`)
      const others = [...this.#central.values()].filter((one) => one.name !== name)
      if (others.reduce((sum, { text }) => sum + text.length, got.text.length) > MOST_TEXT)
        throw new VmapipeError(
          'FAILED',
          `the central job '${name}' was left out: all have more than ${MOST_TEXT >> 20} MiB`,
        )
      this.#central.set(name, { ...got, digest })
      await this.#keep(this.#central.get(name)!)
      hasChanged = true
    }
    return hasChanged
  }

  async #keep(job: CentralJob): Promise<void> {
    try {
      await mkdir(this.#options.kept, { recursive: true, mode: 0o700 })
      await writeWhole(this.#fileOf(job.name), JSON.stringify(job))
    } catch (error) {
      this.#options.warn(`the central job '${job.name}' is in memory alone: ${describe(error as Error)}`)
    }
  }

  #fileOf(name: string): string {
    return join(this.#options.kept, `${name}.json`)
  }
}

function read(name: string, text: string): Job | VmapipeError {
  try {
    return checkCentralJob(name, text).job
  } catch (error) {
    return asVmapipeError(error)
  }
}
