/**
 * Plain push: one backup job for each drive, all begun in one transaction, writes the whole drive to us; what the guest overwrites
 * comes first. It is for guests into which the filters of guarded push cannot be put. The point in time cannot be given up here:
 * while a job runs the guest would get our errors, so no push is answered with an error.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import { asVmapipeError, VmapipeError } from '../../../core/errors.ts'
import type { QmpClient } from '../../../protocol/qmp/client.ts'
import type { BitmapTracking } from '../bitmaps/tracking.ts'
import type { Attachment, PushDrive, PushEvents } from './attachment.ts'
import type { Command } from './commands.ts'
import { namesOf } from './names.ts'
import { addTargets } from './push-nodes.ts'
import { remove } from './removal.ts'

interface PlainPushOptions {
  drives: readonly PushDrive[]
  pushSocket: string
  /** The most bytes a second of each drive; what the guest overwrites does not count. */
  speed?: number
  /** Bitmaps, for what is pushed and for the next backup. */
  tracking?: BitmapTracking | null
  /** Runs the transaction, with what has to be done before and after it. */
  around?: (insert: () => Promise<void>) => Promise<void>
}

/** Milliseconds between two looks at the jobs. */
const LOOK_MS = { events: 200, asked: 200, shared: 2000 }

/** Copies that a job makes by itself at once, and bytes of one copy. Few, because copies for the guest queue behind them. */
const WORKERS = 8
const CHUNK_BYTES = 1 << 20

interface Job {
  id: string
  status: string
  error?: string
}

export class PlainPush implements Attachment {
  readonly #options: PlainPushOptions
  #over = false
  #expected: (number | null)[] | null = null

  constructor(options: PlainPushOptions) {
    this.#options = options
  }

  async insert(qmp: QmpClient, events: PushEvents): Promise<void> {
    const { drives, pushSocket, tracking, around = (insert) => insert() } = this.#options
    await addTargets(qmp, drives.length, pushSocket)
    await tracking?.add(qmp)
    await around(() => qmp.execute(...this.#transaction()))
    this.#expected = (await tracking?.settled(qmp)) ?? null
    void this.#watch(qmp, events)
  }

  async changed(): Promise<(number | null)[]> {
    return this.#expected ?? this.#options.drives.map(() => null)
  }

  pull(): null {
    return null
  }

  async remove(qmp: QmpClient): Promise<void> {
    this.#over = true
    await remove(qmp, { server: false })
  }

  #transaction(): Command {
    const { drives, speed = 0, tracking } = this.#options
    const perf = { 'max-workers': WORKERS, 'max-chunk': CHUNK_BYTES }
    const actions = drives.map(({ node }, index) => {
      const { job, target } = namesOf(index)
      const bitmap = tracking?.frozen(index)
      const what = bitmap ? { sync: 'bitmap', bitmap, 'bitmap-mode': 'never' } : { sync: 'full' }
      const modes = { ...what, 'on-target-error': 'report', 'auto-dismiss': false, 'x-perf': perf }
      return { type: 'blockdev-backup', data: { 'job-id': job, device: node, target, speed, ...modes } }
    })
    return ['transaction', { actions: [...(tracking?.actions ?? []), ...actions] }]
  }

  /** Asks for the jobs, because not all monitors have events. The end of a job does not say what has arrived. */
  async #watch(qmp: QmpClient, { failed, done }: PushEvents): Promise<void> {
    const ids = this.#options.drives.map((_, index) => namesOf(index).job)
    try {
      for (; !this.#over; await sleep(LOOK_MS[qmp.watching])) {
        const jobs = await qmp.execute<Job[]>('query-jobs')
        if (this.#over) return
        const states = ids.map((id) => jobs.find((job) => job.id === id))
        for (const [index, state] of states.entries()) {
          const why = state === undefined ? 'somebody has ended it' : state.error
          if (why !== undefined) throw jobFailed(this.#options.drives[index].name, why)
        }
        if (states.every((state) => state!.status === 'concluded')) return done()
      }
    } catch (error) {
      if (!this.#over) failed(asVmapipeError(error))
    }
  }
}

function jobFailed(drive: string, why: string): VmapipeError {
  return new VmapipeError('FAILED', `QEMU's backup job failed: ${why}`, { drive })
}
