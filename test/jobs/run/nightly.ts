/** A job with guests of its own, in a folder of the test: small images, folders for archives, state and locks. */

import { chmodSync, mkdirSync, realpathSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { readJob } from '../../../src/jobs/file/load.ts'
import type { Job } from '../../../src/jobs/file/schema.ts'
import type { RunEvent } from '../../../src/jobs/run/events.ts'
import type { JobOptions } from '../../../src/jobs/run/job-options.ts'
import { JobRun } from '../../../src/jobs/run/job-run.ts'
import { writeImage } from '../../support/image.ts'
import { tmpDir } from '../../support/tmp.ts'
import { startTestWorker } from '../../support/workers.ts'

type Hooks = { after(hook: () => void): void }

export interface Nightly {
  dir: string
  /** The path of a guest's image. */
  disk(guest: string): string
  job(text: string): Job
  run(job: Job, options?: JobOptions): JobRun
  events: RunEvent[]
}

/** `guests`: their names; each has an image of 2 MiB with some data. */
export function nightly(t: Hooks, guests: readonly string[] = []): Nightly {
  const dir = realpathSync(tmpDir(t))
  chmodSync(dir, 0o700)
  mkdirSync(join(dir, 'place'))
  const disk = (guest: string) => join(dir, `${guest}.raw`)
  for (const guest of guests) writeImage(disk(guest), 2 << 20, { noise: 300_000, text: 200_000 })
  const events: RunEvent[] = []
  return {
    dir,
    disk,
    events,
    job: (text) => {
      const file = join(dir, 'nightly.yaml')
      writeFileSync(file, text)
      return readJob(file, text)
    },
    run: (job, options = {}) =>
      new JobRun(job, {
        state: join(dir, 'state'),
        runtime: join(dir, 'locks'),
        start: startTestWorker,
        onEvent: (event) => events.push(event),
        ...options,
      }),
  }
}

/** Entries of a job file for guests of images. */
export function entries({ disk }: Nightly, guests: readonly string[], more = ''): string {
  return guests
    .map(
      (name) =>
        `  - name: ${JSON.stringify(name)}\n    drives: { drive-scsi0: ${JSON.stringify(disk(name))} }\n${more}`,
    )
    .join('')
}
