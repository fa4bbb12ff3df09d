/** Writes an archive on another machine, over ssh. It gets its name there when it is complete and synced; see remote-script.ts. */

import { posix } from 'node:path'
import { VmapipeError } from '../../core/errors.ts'
import { cutName, partialName, SHARED, UNLOCKED } from '../partial-name.ts'
import type { ArchiveTarget, TargetOptions } from './endpoint.ts'
import { STREAM_DEPTH, writeToStream } from './gather.ts'
import { writeCommand } from './remote-script.ts'
import { remoteName, type SshPlace } from './spec.ts'
import { type Session, startSession, whyNotBegun } from './ssh.ts'

export class SshTarget implements ArchiveTarget {
  readonly depth = STREAM_DEPTH
  readonly #place: SshPlace
  readonly #options: TargetOptions
  readonly #warn: (message: string) => void
  readonly #onAbort = () => void this.abort()
  #session: Session | null = null

  constructor(place: SshPlace, options: TargetOptions) {
    this.#place = place
    this.#options = options
    this.#warn = options.warn ?? (() => {})
  }

  /** ssh may ask for a password on the terminal, so this may take as long as the user needs. */
  async open(): Promise<void> {
    const { path } = this.#place
    // latin1: one character for each byte, because a remote name need not be UTF-8.
    const { dir, base } = posix.parse(path.toString('latin1'))
    const name = Buffer.from(base, 'latin1')
    const beside = (partial: Buffer) =>
      Buffer.from(posix.join(dir, partial.toString('latin1')).replace(/^(?!\/)/, './'), 'latin1')
    const force = Buffer.from(this.#options.force ? '1' : '0')
    const partials = [partialName(name, SHARED), partialName(name, UNLOCKED)].map(beside)
    const words = [path, ...partials, cutName(name), force]
    this.#session = startSession(this.#place, writeCommand, words, this.#warn)
    this.#options.signal?.addEventListener('abort', this.#onAbort, { once: true })
    await this.#expect('ready')
  }

  async write(buffers: readonly Uint8Array[]): Promise<void> {
    const { command } = this.#session!
    await writeToStream(command.stdin, buffers).catch(async () => this.#expect('done'))
  }

  async finish(): Promise<void> {
    const { command, nonce } = this.#session!
    command.stdin.end(nonce)
    await this.#expect('done')
    await command.succeeded()
    await this.abort()
  }

  async abort(): Promise<void> {
    this.#options.signal?.removeEventListener('abort', this.#onAbort)
    await this.#session?.command.kill()
    this.#session?.command.release()
  }

  /** Waits for this answer. Throws the error that any other answer means. */
  async #expect(wanted: 'ready' | 'done'): Promise<void> {
    const { command, answer } = this.#session!
    for (;;) {
      const said = await answer()
      if (this.#options.signal?.aborted) throw new VmapipeError('ABORTED', 'aborted')
      if (said === wanted) return
      if (said === null && wanted === 'ready') throw await whyNotBegun(command, this.#place)
      if (said === null) throw await command.failure()
      const [what, name] = /^(\w+) (.*)$/s.exec(said)?.slice(1) ?? []
      if (name !== undefined && Object.hasOwn(LEFT_OVERS, what)) {
        this.#warn(`'${name}' on ${this.#place.host} ${LEFT_OVERS[what]}`)
      } else {
        const failure = await command.failure()
        throw this.#refusal(said, command.lastWords || failure.message)
      }
    }
  }

  #refusal(said: string, detail: string): VmapipeError {
    const what = REFUSALS[said] ?? { message: `the remote side failed (${said})`, detailed: true }
    const message = `${remoteName(this.#place)} ${what.message}${what.detailed ? `: ${detail}` : ''}`
    return new VmapipeError(what.usage ? 'USAGE' : 'FAILED', message, { hint: what.hint })
  }
}

const LEFT_OVERS: Record<string, string> = {
  removed: 'was left by a run that was killed, and was removed',
  busy: 'is being written by another run',
  left: 'was left by another run, or is being written by one; remove it if no run is writing it',
}

const REFUSALS: Record<string, { message: string; hint?: string; usage?: boolean; detailed?: boolean }> = {
  folder: { message: 'is a folder', hint: 'name a file in it', usage: true },
  nofolder: { message: 'is in a folder that does not exist', hint: 'make the folder first' },
  device: { message: 'is among devices, where no file is made', hint: 'is the name right?', usage: true },
  notfile: { message: 'exists and is not a file', hint: 'choose another name', usage: true },
  used: { message: 'is in use as the image of a guest there', hint: 'choose another name' },
  exists: { message: 'exists and was not overwritten', hint: 'choose another name, or allow it with --force' },
  create: { message: 'cannot be created', detailed: true },
  write: { message: 'could not be written', detailed: true },
  swapped: {
    message: 'was replaced by another file while it was written',
    hint: 'another program works in this folder',
  },
  cut: { message: 'did not arrive whole', hint: 'try again' },
  sync: { message: 'could not be synced', detailed: true },
  publish: { message: 'could not be given its name', detailed: true },
}
