/** Runs the demo guest on a disk of `vmapipe serve`, and backs it up into a target that is slow on purpose. */

import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { CLUSTER_SIZE } from '../../core/geometry.ts'
import { definePipeline, type RunOptions } from '../../core/pipeline.ts'
import { ControlClient } from '../../live/control/client.ts'
import type { LiveBackupStatus } from '../../live/live-backup.ts'
import { rateLimit } from '../../stages/rate-limit.ts'
import { sink } from '../../stages/sink.ts'
import { source } from '../../stages/source.ts'
import { DemoCommand } from './command.ts'
import { CONFIG, DRIVES, makeDrives } from './drives.ts'
import { DemoGuest, type DemoGuestOptions } from './guest.ts'
import type { DemoJournal } from './journal.ts'
import type { Phase } from './latency.ts'

/** The rate of the target, in bytes a second. */
export const TARGET_RATE = 20 << 20

const SOCKET = 'vm.nbd'
const CONTROL = 'vm.ctl'

/** Writes of the first milliseconds do not count, because the first requests are always slow. */
const WARM_UP_MS = 300
/** How long the guest writes without a backup, before and after it. */
const PEACE_MS = 800
const LOOK_MS = 250

/** When it was, in milliseconds since the epoch. */
interface Span {
  /** The point in time. */
  begun: number
  ended: number
}

/** The drives as arguments of `vmapipe serve`, and of `vmapipe backup`. */
export const DRIVE_ARGUMENTS = DRIVES.flatMap(({ name, file }) => ['-d', `${name}=${file}`])

export const SERVE = serveArguments(CONTROL)
export const ATTACH = ['backup', '--attach', CONTROL, '-c', CONFIG.name]

function serveArguments(control: string): string[] {
  return ['serve', ...DRIVE_ARGUMENTS, '--socket', SOCKET, '--control', control]
}

interface LiveGuestOptions extends DemoGuestOptions {
  /** The name of the control socket in its folder. */
  control?: string
}

export class LiveGuest {
  readonly #dir: string
  readonly #server: DemoCommand
  readonly #control: ControlClient
  #guest: DemoGuest | null = null
  #started = 0
  #off: Promise<void> | null = null
  #span: Span = { begun: Number.POSITIVE_INFINITY, ended: Number.POSITIVE_INFINITY }

  private constructor(dir: string, control: string) {
    this.#dir = dir
    this.#server = new DemoCommand([...serveArguments(control), '--ready-fd', '3'], dir)
    this.#control = new ControlClient(join(dir, control))
  }

  /** Makes the drives in `dir`, serves them, and lets the guest write for a while. */
  static async start(dir: string, signal: AbortSignal, options: LiveGuestOptions = {}): Promise<LiveGuest> {
    await makeDrives(dir, signal)
    const live = new LiveGuest(dir, options.control ?? CONTROL)
    try {
      await live.#server.ready()
      live.#guest = await DemoGuest.start(DRIVES, join(dir, SOCKET), signal, options)
      live.#started = Date.now() + WARM_UP_MS
      await live.#wait(WARM_UP_MS + PEACE_MS, signal)
      return live
    } catch (error) {
      await live.close()
      throw error
    }
  }

  /** Backs it up to `archive` while it writes, lets it go on for a while, and begins to shut it down. */
  async backUp(archive: string, { signal, counters }: RunOptions): Promise<LiveBackupStatus> {
    const command = new DemoCommand([...ATTACH, '-o', '-', '--compress', 'zstd', '--quiet'], this.#dir)
    const watch = setInterval(async () => {
      const status = await this.#control.status().catch(() => null)
      if (!status?.backup) return
      const { total, scanned, copied } = status.backup.clusters
      counters?.set('total', total * CLUSTER_SIZE)
      counters?.set('done', (scanned + copied) * CLUSTER_SIZE)
    }, LOOK_MS)
    try {
      const slow = definePipeline([
        source({ from: command.stdout }),
        rateLimit({ rate: TARGET_RATE }),
        sink({ to: archive }),
      ])
      await this.#unlessInTrouble(Promise.all([slow.run({ signal, counters }), command.done()]))
    } finally {
      clearInterval(watch)
      await command.stop()
    }
    const { last } = await this.#control.status()
    this.#span = { begun: Math.round(last!.status.since * 1000), ended: Math.round(last!.ended * 1000) }
    await this.#wait(PEACE_MS, signal!)
    // It takes a while: meanwhile the archive is looked at.
    this.shutDown()
    return last!.status
  }

  /** The guest's writes before the backup, during it and after it. */
  get phases(): Phase[] {
    const { begun, ended } = this.#span
    const within = (name: string, from: number, to: number): Phase => ({
      name,
      writes: this.journal.writes.filter((write) => write.begun >= from && write.begun < to),
    })
    return [
      within('before', this.#started, begun),
      within('during the backup', begun, ended),
      within('after', ended, Number.POSITIVE_INFINITY),
    ]
  }

  get journal(): DemoJournal {
    return this.#guest!.journal
  }

  /** The point in time of the backup. */
  get instant(): number {
    return this.#span.begun
  }

  /** The guest shuts down, and then its disk, which is durable when this resolves. */
  shutDown(): Promise<void> {
    this.#off ??= this.#shutDown()
    this.#off.catch(() => {})
    return this.#off
  }

  async #shutDown(): Promise<void> {
    await this.#guest?.stop()
    await this.#server.stop()
    await this.#server.done()
  }

  /** Ends everything, however it stands. May be called more than once. */
  async close(): Promise<void> {
    await this.#guest?.stop().catch(() => {})
    await this.#server.stop()
  }

  async #wait(milliseconds: number, signal: AbortSignal): Promise<void> {
    await this.#unlessInTrouble(sleep(milliseconds, undefined, { signal }))
  }

  #unlessInTrouble<T>(work: Promise<T>): Promise<T> {
    return Promise.race([work, this.#guest!.trouble])
  }
}
