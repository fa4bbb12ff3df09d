/**
 * Pipes an archive into or out of a shell command. The archive counts only if the command ends with exit code 0. On an abort the
 * command is killed before its input is closed. If this process itself is killed (kill -9), the command cannot tell that from the
 * end of the archive.
 */

import { VmapipeError } from '../../core/errors.ts'
import { Command } from './command.ts'
import { CommandSource } from './command-source.ts'
import type { ArchiveTarget, SourceOptions, TargetOptions } from './endpoint.ts'
import { STREAM_DEPTH, writeToStream } from './gather.ts'

export class ExecTarget implements ArchiveTarget {
  readonly depth = STREAM_DEPTH
  readonly #line: string
  readonly #options: TargetOptions
  readonly #onAbort = () => void this.abort()
  #command: Command | null = null

  constructor(line: string, options: TargetOptions) {
    this.#line = line
    this.#options = options
  }

  async open(): Promise<void> {
    this.#command = shell(this.#line, 'in', this.#options.warn)
    // An error of the pipe is an error of the write, and the command itself knows why.
    this.#command.stdin.on('error', () => {})
    this.#options.signal?.addEventListener('abort', this.#onAbort, { once: true })
  }

  async write(buffers: readonly Uint8Array[]): Promise<void> {
    const command = this.#command!
    await writeToStream(command.stdin, buffers).catch(async () => {
      throw this.#options.signal?.aborted ? aborted() : await command.failure()
    })
  }

  async finish(): Promise<void> {
    const command = this.#command!
    command.stdin.end()
    await command.succeeded().catch((error) => {
      throw this.#options.signal?.aborted ? aborted() : error
    })
    await this.abort()
  }

  async abort(): Promise<void> {
    this.#options.signal?.removeEventListener('abort', this.#onAbort)
    await this.#command?.kill()
    this.#command?.release()
  }
}

export function execSource(line: string, options: SourceOptions): CommandSource {
  return new CommandSource(() => ({ command: shell(line, 'out', options.warn) }), `the command '${line}'`, options)
}

function shell(line: string, direction: 'in' | 'out', warn: (line: string) => void = () => {}): Command {
  return new Command({
    program: '/bin/sh',
    args: ['-c', line],
    name: `the command '${line}'`,
    stdin: direction === 'in' ? 'pipe' : 'ignore',
    stdout: direction === 'in' ? 'stderr' : 'pipe',
    warn,
  })
}

function aborted(): VmapipeError {
  return new VmapipeError('ABORTED', 'aborted')
}
