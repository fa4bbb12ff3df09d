/**
 * A qemu-nbd that serves one image to us only. Its socket is in a private folder that is removed as soon as we are connected. So
 * nobody else can connect, and nothing is left behind. It ends when we disconnect, and when we end.
 */

import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { access, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { asVmapipeError, printable, VmapipeError } from '../core/errors.ts'
import { NbdClient, openExport } from '../protocol/nbd/client.ts'
import type { ConnectionOptions } from '../protocol/nbd/connection.ts'
import { findProgram, spawnTied } from '../system/child.ts'
import { type ImageUse, imageInUse } from './guard/image-lock.ts'
import { socketFolder } from './socket-folder.ts'
import type { ImageFormat } from './spec.ts'

interface QemuNbdOptions {
  writable?: boolean
  /** Reads the image although another program has it open for writing. */
  forceShare?: boolean | undefined
  /**
   * The image and those below it, as QEMU's options of a block node. Then only these files are opened, whatever the image's header
   * names. The image is only read.
   */
  node?: object | undefined
  /** If the server ends early, a new one is started, and requests wait for it. */
  lasting?: boolean
  signal?: AbortSignal | undefined
}

/** Milliseconds that a start may take. 30 ms are usual; an image on a slow disk takes more. */
const START_MS = 30_000
/** Milliseconds that the server may take to end before it is killed. */
const END_MS = 5_000
/** Characters of its messages that are kept: the last ones. */
const MAX_SAID = 4096

export class QemuNbd {
  readonly client: NbdClient
  readonly #launcher: Launcher

  private constructor(client: NbdClient, launcher: Launcher) {
    this.client = client
    this.#launcher = launcher
  }

  static async start(format: ImageFormat | 'raw', path: string, { lasting = false, ...options }: QemuNbdOptions = {}) {
    const launcher = new Launcher(format, path, options)
    const open = (more: ConnectionOptions) => launcher.launch(more)
    const client = await (lasting ? NbdClient.lasting(open, options) : NbdClient.by(open, options))
    return new QemuNbd(client, launcher)
  }

  /** Disconnects, and waits until the server has written all and ended. */
  async finish(): Promise<void> {
    const isAway = this.client.upstream?.status.connected === false
    await this.client.close()
    await (isAway ? this.#launcher.server?.kill() : this.#launcher.server?.finished())
  }

  /** Ends the server at once. Writes that were not flushed may be lost. */
  async close(): Promise<void> {
    await this.client.close()
    await this.#launcher.server?.kill()
  }
}

/** Starts servers of one image, one after the other. */
class Launcher {
  /** The server that was started last. */
  server: ServerProcess | null = null
  readonly #format: ImageFormat | 'raw'
  readonly #path: string
  readonly #options: QemuNbdOptions

  constructor(format: ImageFormat | 'raw', path: string, options: QemuNbdOptions) {
    this.#format = format
    this.#path = path
    this.#options = options
  }

  async launch({ signal }: ConnectionOptions) {
    const program = requireProgram('qemu-nbd')
    if (this.server !== null) {
      // A server that hangs still has the lock of the image.
      await this.server.kill()
      if (this.#options.writable && NEEDS_REPAIR.includes(this.#format)) await this.#repair()
    }
    const folder = await socketFolder()
    const socketPath = join(folder.path, 'nbd')
    const image = imageOptions(this.#format, this.#path, this.#options)
    const server = new ServerProcess(program, [`--socket=${socketPath}`, ...image])
    this.server = server
    try {
      return await server.connect(socketPath, `qemu-nbd of '${printable(this.#path)}'`, signal)
    } catch (error) {
      await server.kill()
      const use = this.#options.writable ? 'write' : 'read'
      throw (await lockedImage(error, this.#path, use)) ?? asVmapipeError(error, { file: this.#path })
    } finally {
      await folder.remove()
    }
  }

  /** Tries to repair the image. Whether that worked shows when it is opened. */
  async #repair(): Promise<void> {
    await runTool('qemu-img', ['check', '-q', '-r', 'all', '-f', this.#format, '--', fileName(this.#path)]).catch(
      () => {},
    )
  }
}

/** Formats that QEMU opens for writing only if they were closed in order, or repaired. It repairs all others when it opens them. */
const NEEDS_REPAIR: readonly string[] = ['parallels']

/** A path that is never taken for a protocol ("nbd:...") or a JSON description of an image. */
export function fileName(path: string): string {
  return path.startsWith('/') ? path : `./${path}`
}

function imageOptions(
  format: ImageFormat | 'raw',
  path: string,
  { writable, forceShare, node }: QemuNbdOptions,
): string[] {
  if (node !== undefined) return ['--read-only', '--', `json:${JSON.stringify(node)}`]
  const mode = writable ? '--discard=unmap' : '--read-only'
  const name = fileName(path)
  if (!forceShare) return [mode, `--format=${format}`, '--', name]
  const shared = `driver=${format},force-share=on,file.driver=file,file.filename=${name.replaceAll(',', ',,')}`
  return [mode, '--image-opts', '--', shared]
}

/** Our own error for QEMU's error about an image lock; null for other errors. The lock may be on an image behind this one. */
async function lockedImage(error: unknown, path: string, use: ImageUse): Promise<VmapipeError | null> {
  const { message } = error as Error
  if (!/Failed to get .*lock/.test(message)) return null
  const [, named] = /using the image \[(.*)\]\?/.exec(message) ?? []
  const other = named === undefined || named === fileName(path) ? path : named
  const stats = await stat(other).catch(() => null)
  return stats === null ? null : imageInUse(stats, other, use)
}

/** The path of a QEMU program. Throws FAILED if it is not installed, and says how to install it. */
export function requireProgram(name: 'qemu-nbd' | 'qemu-img'): string {
  const program = findProgram(name)
  if (program !== undefined) return program
  throw new VmapipeError('FAILED', `${name} is needed for images that are not raw, and is not installed`, {
    hint: 'Debian and Ubuntu: apt install qemu-utils',
  })
}

class ServerProcess {
  readonly #child: ChildProcess
  readonly #exited: Promise<void>
  #said = ''

  constructor(program: string, args: readonly string[]) {
    // Has a process group of its own, so that Ctrl-C does not end it before we are ready.
    // KILL, because qemu-nbd ignores a TERM while it starts. What it writes after our end is never published.
    this.#child = spawnTied(program, args, {
      stdio: ['ignore', 'ignore', 'pipe'],
      detached: true,
      deathSignal: 'KILL',
    })
    this.#exited = new Promise((resolve) => {
      this.#child.once('close', () => resolve())
      this.#child.once('error', (error) => {
        this.#said = error.message
        resolve()
      })
    })
    this.#child.stderr!.setEncoding('utf8').on('data', (text) => {
      this.#said = (this.#said + text).slice(-MAX_SAID)
    })
  }

  /** Connects as soon as the socket exists. The server makes it before it opens the image, which may fail then. */
  async connect(socketPath: string, name: string, signal?: AbortSignal): ReturnType<typeof openExport> {
    const deadline = performance.now() + START_MS
    for (;;) {
      signal?.throwIfAborted()
      if (await exists(socketPath)) {
        try {
          return await openExport({ socketPath, exportName: '' }, { name, signal, connectTimeout: START_MS })
        } catch (error) {
          if (signal?.aborted) throw error
          // Between its bind and listen the server refuses connections for a moment.
          const refused = isRefused(error)
          if (await this.#within(refused ? 3 : 500)) throw this.#failure('qemu-nbd cannot serve the image')
          if (!refused) throw error
        }
      } else if (this.#hasExited) {
        await this.#exited
        throw this.#failure('qemu-nbd cannot serve the image')
      }
      if (performance.now() > deadline) throw this.#failure(`qemu-nbd did not start within ${START_MS / 1000} s`)
      await sleep(3)
    }
  }

  /** Waits until the server ends after its last client. Throws FAILED if it fails, or does not end. */
  async finished(): Promise<void> {
    if (!(await this.#within(START_MS))) throw this.#failure('qemu-nbd does not end')
    if (this.#child.exitCode !== 0) throw this.#failure('qemu-nbd failed')
  }

  async kill(): Promise<void> {
    if (this.#hasExited) return
    this.#child.kill('SIGTERM')
    if (await this.#within(END_MS)) return
    this.#child.kill('SIGKILL')
    await this.#within(END_MS)
  }

  get #hasExited(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null || this.#child.pid === undefined
  }

  async #within(ms: number): Promise<boolean> {
    const late = new AbortController()
    const timer = sleep(ms, false, { signal: late.signal }).catch(() => false)
    const ended = await Promise.race([this.#exited.then(() => true), timer])
    late.abort()
    return ended
  }

  #failure(message: string): VmapipeError {
    const lines = this.#said
      .trim()
      .split('\n')
      .map((line) => line.replace(/^qemu-nbd: /, ''))
    return new VmapipeError('FAILED', lines[0] === '' ? message : `${message}: ${lines.join('; ')}`)
  }
}

/** Runs a QEMU program. Throws FAILED with its messages if it fails. */
export async function runTool(name: 'qemu-img', args: readonly string[], signal?: AbortSignal): Promise<void> {
  const child = spawnTied(requireProgram(name), args, { stdio: ['ignore', 'ignore', 'pipe'], detached: true, signal })
  let said = ''
  child.stderr!.setEncoding('utf8').on('data', (text) => {
    said = (said + text).slice(-MAX_SAID)
  })
  const [code] = await once(child, 'close')
  if (code !== 0) throw new VmapipeError('FAILED', said.trim().replaceAll('\n', '; ') || `${name} failed`)
}

function isRefused(error: unknown): boolean {
  return ((error as Error).cause as NodeJS.ErrnoException | undefined)?.code === 'ECONNREFUSED'
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  )
}
