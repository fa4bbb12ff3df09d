/** Writes an archive to a pipe: standard output, a FIFO, or a stream of the caller. */

import { constants, fstat } from 'node:fs'
import type { Writable } from 'node:stream'
import { finished } from 'node:stream/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { isatty } from 'node:tty'
import { promisify } from 'node:util'
import { asVmapipeError, VmapipeError } from '../../core/errors.ts'
import { closeFd, openFd, reopenPipe, writePipe } from '../../system/pipe-fd.ts'
import { refuseIfClosed } from '../../system/standard-streams.ts'
import { OpenFileTarget } from './device-target.ts'
import type { ArchiveTarget, TargetOptions } from './endpoint.ts'
import { STREAM_DEPTH, writeToStream } from './gather.ts'

/** How often to check whether a FIFO has a reader. */
const READER_POLL_MS = 50

/** Error codes of a write if the reader is gone, and of writes that were in flight then. */
const CLOSED = new Set(['EPIPE', 'ECONNRESET', 'ECANCELED', 'ERR_STREAM_DESTROYED', 'ERR_STREAM_PREMATURE_CLOSE'])

export class PipeTarget implements ArchiveTarget {
  /** The stream has the next bytes when the last ones are gone. Copies are made one at a time, because the budget does not count them. */
  readonly depth: number
  readonly #connect: () => Promise<Writable>
  readonly #name: string
  readonly #signal: AbortSignal | undefined
  readonly #copies: boolean
  readonly #onAbort = () => void this.abort()
  #stream: Writable | null = null
  #error: Error | null = null
  #closed: Promise<void> = Promise.resolve()

  /** With `copies`, the stream gets copies of the bytes, as it may keep them. */
  constructor(
    connect: () => Promise<Writable>,
    name: string,
    { signal }: TargetOptions,
    { copies = false }: { copies?: boolean } = {},
  ) {
    this.#copies = copies
    this.depth = copies ? 1 : STREAM_DEPTH
    this.#connect = connect
    this.#name = name
    this.#signal = signal
  }

  async open(): Promise<void> {
    const stream = await this.#connect()
    this.#stream = stream
    this.#closed = finished(stream, { readable: false }).catch((error) => {
      this.#error ??= error
    })
    stream.on('error', (error) => {
      this.#error ??= error
    })
    this.#signal?.addEventListener('abort', this.#onAbort, { once: true })
  }

  async write(buffers: readonly Uint8Array[]): Promise<void> {
    try {
      await writeToStream(this.#stream!, this.#copies ? [Buffer.concat(buffers)] : buffers)
    } catch (error) {
      throw this.#explain(error)
    }
  }

  async finish(): Promise<void> {
    const stream = this.#stream!
    stream.end()
    await this.#closed
    if (this.#error !== null) throw this.#explain(this.#error)
    this.#signal?.removeEventListener('abort', this.#onAbort)
    // The stream has all of the bytes, but may not have passed them on yet.
    if (this.#copies) this.#stream = null
  }

  async abort(): Promise<void> {
    this.#signal?.removeEventListener('abort', this.#onAbort)
    this.#stream?.destroy()
  }

  #explain(error: unknown): VmapipeError {
    const { code } = (this.#error ?? error) as NodeJS.ErrnoException
    if (this.#signal?.aborted) return new VmapipeError('ABORTED', 'aborted', { cause: error })
    if (CLOSED.has(code ?? '')) {
      return new VmapipeError('FAILED', `the reader of ${this.#name} closed it before the archive was complete`, {
        cause: error,
      })
    }
    return asVmapipeError(this.#error ?? error, { file: this.#name })
  }
}

/** Standard output: a pipe, a socket, or a file. A terminal is refused. */
export async function openStdout(options: TargetOptions): Promise<ArchiveTarget> {
  refuseIfClosed(1)
  if (isatty(1)) {
    throw new VmapipeError('USAGE', 'standard output is a terminal, and an archive is not text', {
      hint: 'redirect standard output into a file or a pipe',
    })
  }
  const found = await promisify(fstat)(1)
  if (!found.isFIFO() && !found.isSocket()) return new OpenFileTarget(1, 'standard output')
  return new PipeTarget(
    async () => writePipe(found.isFIFO() ? await reopenPipe(1, 'write') : 1),
    'standard output',
    options,
  )
}

/** Opens the FIFO when it has a reader. It asks again and again, because an open that waits cannot be interrupted. */
export async function openFifo(path: string, signal?: AbortSignal): Promise<Writable> {
  for (;;) {
    try {
      const fd = await openFd(path, constants.O_WRONLY | constants.O_NONBLOCK)
      return await fifoSocket(fd, path)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENXIO') throw error
    }
    await sleep(READER_POLL_MS, undefined, { signal })
  }
}

async function fifoSocket(fd: number, path: string): Promise<Writable> {
  if ((await promisify(fstat)(fd)).isFIFO()) return writePipe(fd)
  await closeFd(fd)
  throw new VmapipeError('FAILED', `'${path}' is not a pipe any more`)
}
