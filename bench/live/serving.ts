/** `vmapipe serve` as a process, and backups of it. */

import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import { definePipeline } from '../../src/core/pipeline.ts'
import { ControlClient } from '../../src/live/control/client.ts'
import type { ServiceStatus } from '../../src/live/control/controlled-service.ts'
import { confirmation, feedSource } from '../../src/live/control/handover/feed-source.ts'
import { PIECE_CLUSTERS } from '../../src/live/live-backup.ts'
import { rateLimit } from '../../src/stages/rate-limit.ts'
import { sink } from '../../src/stages/sink.ts'
import { vmaFramer } from '../../src/stages/vma-framer.ts'
import { zeroElider } from '../../src/stages/zero-elider.ts'
import { spawnTied } from '../../src/system/child.ts'
import { vmapipe } from '../topic.ts'
import type { Target } from './fio.ts'

export const DRIVE = 'drive-scsi0'
/** The longest that a write waits, as `vmapipe serve` has it unless told otherwise. */
export const MAX_STALL_MS = 10_000

export class Serving {
  readonly target: Target
  readonly control: string
  readonly client: ControlClient
  readonly #child: ChildProcess

  private constructor(child: ChildProcess, target: Target, control: string) {
    this.#child = child
    this.target = target
    this.control = control
    this.client = new ControlClient(control)
  }

  static async start(image: string, folder: string, flags: string[] = []): Promise<Serving> {
    const [socket, control] = [join(folder, 'vm.nbd'), join(folder, 'vm.ctl')]
    const [program, ...args] = vmapipe(
      'serve',
      '-d',
      `${DRIVE}=${image}`,
      '--socket',
      socket,
      '--control',
      control,
      ...flags,
    )
    const child = spawnTied(program, [...args, '--ready-fd', '3'], { stdio: ['ignore', 'inherit', 'inherit', 'pipe'] })
    await new Promise((resolve, reject) => {
      ;(child.stdio[3] as Readable).once('data', resolve)
      child.once('exit', (code) => reject(new Error(`vmapipe serve ended with ${code}`)))
    })
    return new Serving(child, { socket, export: DRIVE, size: (await stat(image)).size }, control)
  }

  /** Resolves when the first backup runs; `stop` ends them. One follows the other until then. */
  async backUpAllTheTime(): Promise<{ stop: () => Promise<void> }> {
    let running = true
    let current: ChildProcess | null = null
    const loop = (async () => {
      while (running) {
        const [program, ...args] = vmapipe('backup', '--attach', this.control, '--compress', 'none', '-o', '/dev/null')
        current = spawnTied(program, args, { stdio: ['ignore', 'ignore', 'pipe'] })
        const [said, code] = await Promise.all([text(current.stderr!), once(current, 'exit')])
        if (running && code[0] !== 0) throw new Error(`a backup during the load failed: ${said}`)
      }
    })()
    await Promise.race([this.#until(({ backup }) => backup !== null), loop])
    return {
      stop: async () => {
        running = false
        current?.kill('SIGTERM')
        await loop
        await this.#until(({ backup }) => backup === null)
      },
    }
  }

  /** A backup to a sink that takes so many bytes a second. */
  async backUpSlowly(rate: number, signal: AbortSignal): Promise<void> {
    const feed = await this.client.backup({}, signal)
    await definePipeline([
      feedSource({ feed }),
      zeroElider(),
      vmaFramer({ slots: PIECE_CLUSTERS }),
      rateLimit({ rate }),
      confirmation({ feed }),
      sink({ to: '/dev/null' }),
    ]).run({ signal, buffer: 16 << 20 })
  }

  status(): Promise<ServiceStatus> {
    return this.client.status()
  }

  get pid(): number {
    return this.#child.pid!
  }

  /** Peak resident bytes, by proc(5). */
  get peakMemory(): number {
    const [, kib] = /^VmHWM:\s*(\d+) kB$/m.exec(readFileSync(`/proc/${this.#child.pid}/status`, 'utf8'))!
    return Number(kib) * 1024
  }

  async stop(): Promise<void> {
    const exit = new Promise((resolve) => this.#child.once('exit', resolve))
    this.#child.kill('SIGTERM')
    await exit
  }

  async #until(condition: (status: ServiceStatus) => boolean): Promise<void> {
    while (!condition(await this.status())) await sleep(5)
  }
}
