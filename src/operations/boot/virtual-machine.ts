/** One QEMU that runs a guest without network and without any file of the host, and ends with us. */

import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { type FileHandle, open } from 'node:fs/promises'
import type { Socket } from 'node:net'
import { setPriority } from 'node:os'
import type { Readable } from 'node:stream'
import { asVmapipeError, printable } from '../../core/errors.ts'
import { QmpClient } from '../../protocol/qmp/client.ts'
import { spawnTied } from '../../system/child.ts'
import { AcceleratorError } from './accelerator.ts'
import { AGENT_FD, MONITOR_FD } from './arguments.ts'
import { commandAs, type LimitedUser } from './program.ts'
import { parsePpm, type Screen } from './screen.ts'

export interface StartOptions {
  program: string
  args: readonly string[]
  user: LimitedUser | null
  /** An empty file that QEMU may write: pictures of the screen. */
  screenFile: string
  signal?: AbortSignal | undefined
}

/** Guests of other programs come first. */
const NICE = 5
/** The largest picture, in bytes. */
const LARGEST_PICTURE = 128 << 20
const LONGEST_WORDS = 2000

export class VirtualMachine {
  readonly qmp: QmpClient
  readonly agent: Socket
  readonly console: Readable
  /** Resolves when QEMU has ended, with its own words. */
  readonly ended: Promise<string>
  readonly #child: ChildProcess
  readonly #screen: FileHandle
  readonly #screenFile: string
  /** The last picture that is being taken: they have one file. */
  #taking: Promise<unknown> = Promise.resolve()

  private constructor(
    child: ChildProcess,
    parts: { qmp: QmpClient; ended: Promise<string>; screen: FileHandle; screenFile: string },
  ) {
    this.#child = child
    this.qmp = parts.qmp
    this.ended = parts.ended
    this.#screen = parts.screen
    this.#screenFile = parts.screenFile
    this.agent = child.stdio[AGENT_FD] as Socket
    this.console = child.stdout!
  }

  /** Resolves when the guest runs. Throws FAILED with what QEMU says if it does not start. */
  static async start({ program, args, user, screenFile, signal }: StartOptions): Promise<VirtualMachine> {
    const screen = await open(screenFile, 'r')
    const child = spawnTied(...commandAs(user, program, args), {
      stdio: ['ignore', 'pipe', 'pipe', 'pipe', 'pipe'],
      // No variable of ours, which may be a secret, gets there.
      env: { PATH: process.env.PATH, LANG: 'C.UTF-8' },
      deathSignal: 'KILL',
    })
    let words = ''
    child.stderr!.setEncoding('utf8').on('data', (text) => {
      words = `${words}${text}`.slice(-LONGEST_WORDS)
    })
    const monitor = child.stdio[MONITOR_FD] as Socket
    // Errors of these sockets show as the end of QEMU.
    for (const socket of [monitor, child.stdio[AGENT_FD] as Socket]) socket.on('error', () => {})
    const ended = once(child, 'close').then(
      () => printable(words.trim().split('\n').at(-1) ?? ''),
      (error: Error) => error.message,
    )
    try {
      const qmp = await QmpClient.connect(monitor, { signal })
      if (child.pid !== undefined) setPriority(child.pid, NICE)
      return new VirtualMachine(child, { qmp, ended, screen, screenFile })
    } catch (error) {
      child.kill('SIGKILL')
      const said = await ended
      await screen.close()
      if (signal?.aborted) throw asVmapipeError(signal.reason)
      throw new AcceleratorError('FAILED', `QEMU does not start: ${said === '' ? (error as Error).message : said}`, {
        cause: error,
      })
    }
  }

  /** A picture of the screen; null if there is none. Of several that are asked for at once, one is taken after the other. */
  look(): Promise<Screen | null> {
    const picture = this.#taking.then(() => this.#take())
    this.#taking = picture
    return picture
  }

  /** Never fails. */
  async #take(): Promise<Screen | null> {
    try {
      await this.qmp.execute('screendump', { filename: this.#screenFile })
      const { size } = await this.#screen.stat()
      if (size > LARGEST_PICTURE) return null
      const { buffer, bytesRead } = await this.#screen.read(Buffer.alloc(size), 0, size, 0)
      return parsePpm(buffer.subarray(0, bytesRead))
    } catch {
      return null
    }
  }

  /** Ends it, as a power failure does. */
  async stop(): Promise<void> {
    this.qmp.close()
    this.#child.kill('SIGKILL')
    await this.ended
    await this.#screen.close()
  }
}
