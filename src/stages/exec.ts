/**
 * Sends the bytes through a program of the user's: an encryption, a buffer, another compression. What the program gives counts as whole
 * only if it took everything and ended with exit code 0, so the sink publishes nothing of a program that failed. The program and all that
 * it has started end with the run.
 */

import { VmapipeError } from '../core/errors.ts'
import type { Chunk } from '../core/items.ts'
import { defineStage, type Push, type StageContext, type TransformBody, z } from '../core/stage.ts'
import { Command } from '../storage/archive/command.ts'
import { writeToStream } from '../storage/archive/gather.ts'
import { PipeSource } from '../storage/archive/pipe-source.ts'
import { findProgram } from '../system/child.ts'
import { readStream } from '../system/pipe-fd.ts'

/**
 * The memory for what the program gives, 4 MiB. It is apart from that of other stages: a program that cannot give its output takes no more
 * input, and would wait for ever if that input had all of the memory.
 */
const OUTPUT_BYTES = 4 << 20

/** The least part of a budget that the output may have, 1/8, so that several programs fit into the smallest one. */
const LARGEST_SHARE = 8

const options = z.strictObject({
  command: z
    .union([z.string().regex(/\S/), z.array(z.string()).min(1)], {
      error: 'expected a command line for the shell, or a list of a program and its arguments',
    })
    .describe('a command line for /bin/sh, or a list: the program, then its arguments, which no shell reads'),
})

/**
 * Sends bytes through a program, and gives what it prints. Errors: FAILED with its exit code and its last words.
 *
 *     await definePipeline([source({ from: 'vm.vma' }), exec({ command: ['age', '-R', 'keys.txt'] }), sink({ to: 'vm.vma.age' })]).run()
 */
export const exec = defineStage({
  name: 'exec',
  summary: 'sends the bytes through a program, such as age, gpg, mbuffer or pv',
  input: 'bytes',
  output: 'bytes',
  options,
  create: (given, context) => new Exec(given, context),
})

class Exec implements TransformBody<Chunk, Chunk> {
  readonly #argv: readonly string[]
  readonly #name: string
  readonly #signal: AbortSignal
  readonly #warn: (line: string) => void
  readonly #output: PipeSource
  readonly #onAbort = () => void this.#command?.kill()
  #command: Command | null = null
  /** Resolves to the error by which reading the output has ended, or to null if it was read to its end. */
  #drained: Promise<unknown> | null = null

  constructor({ command }: z.output<typeof options>, { budget, name, signal, warn }: StageContext) {
    this.#argv = typeof command === 'string' ? ['/bin/sh', '-c', command] : command
    this.#name = `the command '${typeof command === 'string' ? command : command.join(' ')}'`
    this.#signal = signal
    this.#warn = warn
    const part = budget.carve(Math.min(OUTPUT_BYTES, Math.floor(budget.capacity / LARGEST_SHARE)), name)
    const connect = async (feed: (bytes: Uint8Array) => boolean) => readStream(this.#command!.stdout, feed)
    this.#output = new PipeSource(connect, this.#name, { budget: part, signal })
  }

  async open(): Promise<void> {
    const [program, ...args] = this.#argv
    if (findProgram(program) === undefined) {
      throw new VmapipeError('FAILED', `the program '${program}' was not found`, {
        hint: 'install it, or write its whole path',
      })
    }
    this.#command = new Command({
      program,
      args,
      name: this.#name,
      stdin: 'pipe',
      stdout: 'pipe',
      warn: this.#warn,
    })
    // The write that fails has the error, and the program's end has the reason.
    this.#command.stdin.on('error', () => {})
    this.#signal.addEventListener('abort', this.#onAbort, { once: true })
    await this.#output.open()
  }

  async transform(chunk: Chunk, push: Push<Chunk>): Promise<void> {
    this.#drained ??= this.#drain(push)
    try {
      await writeToStream(this.#command!.stdin, chunk.buffers)
    } catch {
      throw await this.#failure()
    } finally {
      chunk.release()
    }
  }

  async flush(push: Push<Chunk>): Promise<void> {
    this.#drained ??= this.#drain(push)
    this.#command!.stdin.end()
    const error = await this.#drained
    if (this.#signal.aborted) throw this.#signal.reason
    await this.#command!.succeeded()
    if (error !== null) throw error
  }

  async close(): Promise<void> {
    this.#signal.removeEventListener('abort', this.#onAbort)
    // Before its input is closed, which would look like the end of the archive.
    await this.#command?.kill()
    await this.#output.close()
    this.#command?.release()
  }

  /** Gives the program's output on, as fast as the stages behind take it: they hold the memory that it is read into. */
  async #drain(push: Push<Chunk>): Promise<unknown> {
    try {
      for (;;) {
        const chunk = await this.#output.read()
        if (chunk === null) return null
        push(chunk)
      }
    } catch (error) {
      return error
    }
  }

  async #failure(): Promise<Error> {
    return this.#signal.aborted ? this.#signal.reason : await this.#command!.failure()
  }
}
