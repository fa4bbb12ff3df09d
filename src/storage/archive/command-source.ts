/** Reads the standard output of a program. Its end counts only if the program ended with exit code 0 and gave as many bytes as it had said. */

import { VmapipeError } from '../../core/errors.ts'
import type { Chunk } from '../../core/items.ts'
import { readStream } from '../../system/pipe-fd.ts'
import type { Command } from './command.ts'
import type { ArchiveSource, SourceOptions } from './endpoint.ts'
import { PipeSource } from './pipe-source.ts'

/** A program that was started. */
export interface Started {
  command: Command
  /** Waits until the program is about to give bytes. Resolves with their number, if the program knows it. */
  ready?(): Promise<number | undefined>
}

export class CommandSource implements ArchiveSource {
  readonly #start: () => Started
  readonly #name: string
  readonly #signal: AbortSignal | undefined
  readonly #onAbort = () => void this.close()
  readonly #pipe: PipeSource
  #command: Command | null = null
  #size: number | undefined
  #offset = 0

  constructor(start: () => Started, name: string, options: SourceOptions) {
    this.#start = start
    this.#name = name
    this.#signal = options.signal
    this.#pipe = new PipeSource(async (feed) => readStream(this.#command!.stdout, feed), name, options)
  }

  get size(): number | undefined {
    return this.#size
  }

  async open(): Promise<void> {
    const { command, ready } = this.#start()
    this.#command = command
    this.#signal?.addEventListener('abort', this.#onAbort, { once: true })
    this.#size = await ready?.()
    await this.#pipe.open()
  }

  async read(): Promise<Chunk | null> {
    const chunk = await this.#pipe.read()
    if (chunk === null) await this.#checkEnd()
    else this.#offset += chunk.byteLength
    return chunk
  }

  async close(): Promise<void> {
    this.#signal?.removeEventListener('abort', this.#onAbort)
    await this.#command?.kill()
    await this.#pipe.close()
    this.#command?.release()
  }

  async #checkEnd(): Promise<void> {
    await this.#command!.succeeded()
    if (this.#offset >= (this.#size ?? 0)) return
    throw new VmapipeError('FAILED', `${this.#name} gave ${this.#offset} bytes of ${this.#size}`)
  }
}
