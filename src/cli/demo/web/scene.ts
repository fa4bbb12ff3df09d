/** What the page of the demo shows: three made-up guests that write all the time, and a job that backs up two of them. */

import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { writeWhole } from '../../../jobs/state/files.ts'
import { DemoCommand } from '../command.ts'
import { LiveGuest } from '../live.ts'

/** The last one is in no job, which the page tells first. */
const GUESTS = ['web01', 'db01', 'files01']
const IN_THE_JOB = GUESTS.slice(0, 2)

/** They write for hours: slowly, and without a journal. */
const CALM = { thinking: 120, journal: false }

export class Scene {
  /** Where the job file is. */
  readonly jobs: string
  readonly state: string
  readonly runtime: string
  /** Where the page may restore to. */
  readonly restored: string
  readonly #dir: string
  readonly #guests: LiveGuest[] = []
  #run: DemoCommand | null = null

  private constructor(dir: string) {
    this.#dir = dir
    this.jobs = join(dir, 'jobs')
    this.state = join(dir, 'state')
    this.runtime = join(dir, 'run')
    this.restored = join(dir, 'restored')
  }

  /** Makes the guests in `dir`, and lets them write. */
  static async make(dir: string, signal: AbortSignal): Promise<Scene> {
    const scene = new Scene(dir)
    try {
      await mkdir(scene.restored)
      for (const name of GUESTS) {
        const folder = scene.#guestFolder(name)
        await mkdir(folder, { recursive: true })
        scene.#guests.push(await LiveGuest.start(folder, signal, { ...CALM, control: `${name}.ctl` }))
      }
      return scene
    } catch (error) {
      await scene.close()
      throw error
    }
  }

  /** Runs the job once. `rate`: how fast guests are read, such as 6MiB/s; null for as fast as can be. */
  async backUp(rate: string | null): Promise<void> {
    const file = join(this.jobs, 'nightly.yaml')
    await writeWhole(
      file,
      jobText(
        rate,
        this.#dir,
        IN_THE_JOB.map((name) => join(this.#guestFolder(name), `${name}.ctl`)),
      ),
    )
    const env = { VMAPIPE_STATE: this.state, VMAPIPE_RUNTIME: this.runtime }
    this.#run = new DemoCommand(['job', 'run', '--now', '--quiet', '--', file], this.#dir, env)
    // Nobody reads what it prints.
    this.#run.stdout.resume()
    await this.#run.done()
  }

  async close(): Promise<void> {
    await this.#run?.stop()
    await Promise.all(this.#guests.map((guest) => guest.close()))
  }

  #guestFolder(name: string): string {
    return join(this.#dir, 'guests', name)
  }
}

/** JSON is YAML, and quotes paths. */
function jobText(rate: string | null, dir: string, attach: string[]): string {
  const job = {
    description: 'Two guests of the demo, every night',
    guests: [{ attach }],
    to: [{ place: join(dir, 'backup'), keep: { last: 6, daily: 7 } }],
    schedule: '01:30',
    full: 'every 4',
    limits: { parallel: 2, ...(rate !== null && { rate }) },
    check: { verify: 'after' },
  }
  return `${JSON.stringify(job, null, 2)}\n`
}
