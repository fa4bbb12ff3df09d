/**
 * Plain push: one backup job for each drive, all begun in one transaction, writes the whole drive to us, what the guest
 * overwrites first. For guests that the filters of guarded push cannot be put into. There is no such thing as giving the
 * point in time up here: while a job runs the guest gets our errors, so we never give one.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import { asVmapipeError, VmapipeError } from '../../../core/errors.ts'
import type { QmpClient } from '../../../protocol/qmp/client.ts'
import type { Attachment, PushDrive, PushEvents } from './attachment.ts'
import type { Command } from './commands.ts'
import { namesOf } from './names.ts'
import { addTargets } from './push-nodes.ts'
import { remove } from './removal.ts'

interface PlainPushOptions {
  drives: readonly PushDrive[]
  pushSocket: string
  /** Bytes a second of each drive at most, what the guest overwrites not counted. */
  speed?: number
  /** Runs the transaction, with whatever has to be before and after it. */
  around?: (insert: () => Promise<void>) => Promise<void>
}

const LOOK_MS = 200

/** Copies that a job makes by itself at once, and bytes of one: few, as the guest's are behind them in the same line. */
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

  constructor(options: PlainPushOptions) {
    this.#options = options
  }

  async insert(qmp: QmpClient, events: PushEvents): Promise<void> {
    const { drives, pushSocket, around = (insert) => insert() } = this.#options
    await addTargets(qmp, drives.length, pushSocket)
    await around(() => qmp.execute(...this.#transaction()))
    void this.#watch(qmp, events)
  }

  pull(): null {
    return null
  }

  async remove(qmp: QmpClient): Promise<void> {
    this.#over = true
    await remove(qmp, { server: false })
  }

  #transaction(): Command {
    const { drives, speed = 0 } = this.#options
    const perf = { 'max-workers': WORKERS, 'max-chunk': CHUNK_BYTES }
    const actions = drives.map(({ node }, index) => {
      const { job, target } = namesOf(index)
      const modes = { sync: 'full', 'on-target-error': 'report', 'auto-dismiss': false, 'x-perf': perf }
      return { type: 'blockdev-backup', data: { 'job-id': job, device: node, target, speed, ...modes } }
    })
    return ['transaction', { actions }]
  }

  /** A job's end is no event that all monitors have; that it has ended says nothing of what has arrived. */
  async #watch(qmp: QmpClient, { failed, done }: PushEvents): Promise<void> {
    const ids = this.#options.drives.map((_, index) => namesOf(index).job)
    try {
      for (; !this.#over; await sleep(LOOK_MS)) {
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
