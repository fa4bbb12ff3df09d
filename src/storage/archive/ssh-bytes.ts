/**
 * Reads an archive on another machine in any order, over one ssh session. Requests are sent without waiting for the answers before them. A
 * session that breaks is begun again, and what was not answered is asked for again: a guest may run on what is read.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import type { Counters } from '../../core/counters.ts'
import { asVmapipeError, VmapipeError } from '../../core/errors.ts'
import type { ArchiveBytes } from './archive-bytes.ts'
import { rangesCommand } from './remote-place-script.ts'
import { remoteName, type SshPlace } from './spec.ts'
import { moved, type Session, startSession, whyNotBegun } from './ssh.ts'

/** Milliseconds before each new attempt to begin a session. */
const PAUSES = [200, 1000, 3000, 8000]

/** An answer of which nothing has come for so long will not come, in milliseconds. */
const SILENCE = 60_000

/** The other side can only give this archive from its beginning to its end. */
export class OnlyInOrder extends VmapipeError {}

interface Request {
  buffer: Uint8Array
  offset: number
  resolve: () => void
  reject: (error: Error) => void
}

interface OpenOptions {
  counters?: Counters | undefined
  signal?: AbortSignal | undefined
  warn?: ((message: string) => void) | undefined
}

/** What must be the same in every session. */
interface Identity {
  size: number
  inode: string
}

export class SshBytes implements ArchiveBytes {
  readonly #place: SshPlace
  readonly #options: OpenOptions
  #session: Session | null
  readonly #identity: Identity
  /** Those that were not answered yet, in the order in which they are asked for. */
  readonly #requests: Request[] = []
  /** Resolves when there are no requests; null if there are none. */
  #serving: Promise<void> | null = null
  #isClosed = false

  private constructor(place: SshPlace, session: Session, identity: Identity, options: OpenOptions) {
    this.#place = place
    this.#session = session
    this.#identity = identity
    this.#options = options
  }

  /** Errors: USAGE for a folder, OnlyInOrder for what is no file, FAILED. */
  static async open(place: SshPlace, options: OpenOptions): Promise<SshBytes> {
    const { session, identity } = await begin(place, options)
    return new SshBytes(place, session, identity, options)
  }

  get size(): number {
    return this.#identity.size
  }

  read(buffer: Uint8Array, offset: number): Promise<void> {
    if (buffer.byteLength === 0) return Promise.resolve()
    return new Promise((resolve, reject) => {
      if (this.#isClosed) return reject(this.#closed())
      const request = { buffer, offset, resolve, reject }
      this.#requests.push(request)
      if (this.#session !== null) ask(this.#session, request)
      this.#serving ??= this.#serve()
    })
  }

  async close(): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    await this.#end()
    // An answer that has come in part may still be written into its memory.
    await this.#serving
    for (const { reject } of this.#requests.splice(0)) reject(this.#closed())
  }

  /** Takes answers as long as there are requests. */
  async #serve(): Promise<void> {
    while (this.#requests.length > 0 && !this.#isClosed) {
      try {
        this.#session ??= await this.#again()
        await this.#answer(this.#session, this.#requests[0])
        this.#requests.shift()!.resolve()
      } catch (error) {
        await this.#end()
        if (error instanceof SessionBroke) continue
        for (const { reject } of this.#requests.splice(0)) reject(asVmapipeError(error))
      }
    }
    this.#serving = null
  }

  async #answer({ command, answer }: Session, { buffer }: Request): Promise<void> {
    const timer = new Watchdog(SILENCE, () => void command.kill())
    try {
      if ((await answer()) !== 'data') throw new SessionBroke()
      for (let filled = 0; filled < buffer.byteLength; ) {
        const chunk = command.stdout.read() as Buffer | null
        timer.feed()
        if (chunk === null) {
          if (command.stdout.readableEnded || command.stdout.destroyed) throw new SessionBroke()
          await moved(command.stdout)
          continue
        }
        const part = chunk.subarray(0, buffer.byteLength - filled)
        buffer.set(part, filled)
        filled += part.byteLength
        if (part.byteLength < chunk.byteLength) command.stdout.unshift(chunk.subarray(part.byteLength))
      }
      this.#options.counters?.add('read', buffer.byteLength)
    } finally {
      timer.stop()
    }
  }

  /** Begins a session anew, and asks for everything that is open. */
  async #again(): Promise<Session> {
    const { warn, signal } = this.#options
    warn?.(`the connection to ${this.#place.host} broke and is begun again`)
    for (let attempt = 0; ; attempt++) {
      await sleep(PAUSES[attempt], undefined, { signal, ref: true }).catch(() => {})
      if (this.#isClosed || signal?.aborted) throw this.#closed()
      try {
        const { session, identity } = await begin(this.#place, this.#options)
        if (identity.size !== this.#identity.size || identity.inode !== this.#identity.inode) {
          await session.command.kill()
          throw replaced(this.#place)
        }
        for (const request of this.#requests) ask(session, request)
        return session
      } catch (error) {
        if (attempt === PAUSES.length - 1 || error instanceof Replaced) throw error
      }
    }
  }

  async #end(): Promise<void> {
    const session = this.#session
    this.#session = null
    await session?.command.kill()
    session?.command.release()
  }

  #closed(): VmapipeError {
    return new VmapipeError('FAILED', `${remoteName(this.#place)} is closed`)
  }
}

/** The session ended before it had answered. */
class SessionBroke extends Error {}
class Replaced extends VmapipeError {}

function replaced(place: SshPlace): Replaced {
  const message = `${remoteName(place)} is another file than before the connection broke`
  return new Replaced('FAILED', message, { hint: 'begin again' })
}

function ask({ command }: Session, { buffer, offset }: Request): void {
  command.stdin.write(`${offset} ${buffer.byteLength}\n`)
}

async function begin(
  place: SshPlace,
  { warn = () => {}, signal }: OpenOptions,
): Promise<{ session: Session; identity: Identity }> {
  const session = startSession(place, rangesCommand, [place.path], warn)
  const onAbort = () => void session.command.kill()
  signal?.addEventListener('abort', onAbort, { once: true })
  try {
    const said = await session.answer()
    if (signal?.aborted) throw new VmapipeError('ABORTED', 'aborted')
    if (said === null) throw await whyNotBegun(session.command, place)
    if (said === 'folder') {
      throw new VmapipeError('USAGE', `${remoteName(place)} is a folder`, { hint: 'name the archive in it' })
    }
    const [, size, inode] = /^ready ([0-9]{1,15}) ([0-9]{1,20})$/.exec(said) ?? []
    if (size === undefined) {
      throw new OnlyInOrder('FAILED', `${remoteName(place)} can only be read from its beginning to its end`)
    }
    return { session, identity: { size: Number(size), inode } }
  } catch (error) {
    await session.command.kill()
    session.command.release()
    throw error
  } finally {
    signal?.removeEventListener('abort', onAbort)
  }
}

/** Calls `bark` if it is not fed for `ms` milliseconds. */
class Watchdog {
  readonly #timer: NodeJS.Timeout

  constructor(ms: number, bark: () => void) {
    this.#timer = setTimeout(bark, ms)
  }

  feed(): void {
    this.#timer.refresh()
  }

  stop(): void {
    clearTimeout(this.#timer)
  }
}
