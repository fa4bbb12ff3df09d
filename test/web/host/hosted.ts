/** A host with jobs of its own in a folder of the test, and the page of it. */

import { chmodSync, mkdirSync, realpathSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type HostHouseOptions, openHostHouse } from '../../../src/web/host/host-house.ts'
import type { House, TaskRow } from '../../../src/web/house.ts'
import { LAUNCHER, startCli, vmapipe } from '../../cli/cli.ts'
import { writeImage } from '../../support/image.ts'
import { tmpDir } from '../../support/tmp.ts'

type Hooks = { after(hook: () => unknown): void }

export const HOST = 'host1'

export class Hosted {
  readonly dir: string
  readonly env: Record<string, string>

  constructor(dir: string) {
    this.dir = dir
    this.env = {
      VMAPIPE_STATE: join(dir, 'state'),
      VMAPIPE_RUNTIME: join(dir, 'run'),
      XDG_CACHE_HOME: join(dir, 'cache'),
      XDG_CONFIG_HOME: join(dir, 'config'),
      NODE_COMPILE_CACHE: join(import.meta.dirname, '../../../node_modules/.cache/vmapipe-test'),
    }
  }

  get place(): string {
    return join(this.dir, 'place')
  }

  /** A guest of a disk at rest. */
  disk(guest: string, size = 2 << 20): string {
    const path = join(this.dir, `${guest}.raw`)
    writeImage(path, size, { noise: size / 4, text: size / 8 })
    return path
  }

  /** Writes a job of guests at rest. Returns the path of its file. */
  job(name: string, guests: Record<string, string>, more = ''): string {
    const entries = Object.entries(guests).map(
      ([guest, disk]) => `  - { name: ${JSON.stringify(guest)}, drives: { drive-scsi0: ${JSON.stringify(disk)} } }\n`,
    )
    return this.jobOf(name, entries.join(''), `to: ${JSON.stringify(this.place)}\n${more}`)
  }

  jobOf(name: string, guests: string, more: string): string {
    const file = join(this.dir, 'config/vmapipe/jobs', `${name}.yaml`)
    writeFileSync(file, `guests:\n${guests}${more}`, { mode: 0o600 })
    return file
  }

  /** The command line, as somebody else of this host uses it. */
  cli(...words: string[]) {
    return vmapipe(words, { env: this.env })
  }

  startCli(...words: string[]) {
    return startCli(words, { env: this.env })
  }

  async open(t: Hooks, options: HostHouseOptions = {}): Promise<House> {
    const house = await openHostHouse({
      state: this.env.VMAPIPE_STATE,
      runtime: this.env.VMAPIPE_RUNTIME,
      jobsFolders: [join(this.dir, 'config/vmapipe/jobs')],
      name: HOST,
      start: [process.execPath, LAUNCHER],
      env: this.env,
      ...options,
    })
    t.after(() => house.close())
    return house
  }
}

export function hosted(t: Hooks): Hosted {
  const dir = realpathSync(tmpDir(t))
  chmodSync(dir, 0o700)
  for (const folder of ['place', 'state', 'run', 'cache', 'config/vmapipe/jobs'])
    mkdirSync(join(dir, folder), { recursive: true, mode: 0o700 })
  // The house reads the index of a place itself.
  const before = process.env.XDG_CACHE_HOME
  process.env.XDG_CACHE_HOME = join(dir, 'cache')
  t.after(() => {
    if (before === undefined) delete process.env.XDG_CACHE_HOME
    else process.env.XDG_CACHE_HOME = before
  })
  return new Hosted(dir)
}

const LONGEST_MS = 400_000

/** Waits until it is so. */
export async function until<T>(look: () => Promise<T | null | undefined | false>, what: string): Promise<T> {
  for (const end = performance.now() + LONGEST_MS; performance.now() < end; await sleep(50)) {
    const found = await look()
    if (found) return found
  }
  throw new Error(`it never came: ${what}`)
}

/** The task when it has ended. */
export function ended(house: House, id: string | null): Promise<TaskRow> {
  return until(
    async () => (await house.now()).tasks.find((task) => task.id === id && task.ended !== null),
    `the end of the task ${id}`,
  )
}

/** Starts a job and waits for its report. */
export async function runOn(house: House, job: string) {
  const run = await house.act({ do: 'start', host: HOST, job }, 'test')
  return until(() => house.report(HOST, job, run!), `the report of ${run}`)
}
