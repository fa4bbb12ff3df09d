/**
 * The way to a guest agent: JSON lines as in QMP, but without greeting, ids and events (QEMU Guest Agent Protocol
 * Reference, guest-sync-delimited). Answers come in order. The other end is inside the guest, and may be hostile,
 * hung or not there at all; what an earlier client left unread may come first.
 */

import { connect, type Socket } from 'node:net'
import { asVmapipeError, VmapipeError } from '../../core/errors.ts'
import { LineSplitter } from './lines.ts'
import { parseMessage } from './message.ts'
import { QmpError } from './qmp-error.ts'

/** No answer that is asked for here is longer, in bytes. */
const MAX_ANSWER = 1 << 20

/** No byte of JSON: before a sync it makes the agent forget what it has, and its answer begins with it. */
const DELIMITER = 0xff

interface Pending {
  command: string
  /** Of a sync: everything before its own answer is to be thrown away. */
  syncId: number | null
  resolve(value: any): void
  reject(error: Error): void
  timer: NodeJS.Timeout
}

export class AgentChannel {
  readonly #path: string
  readonly #socket: Socket
  readonly #pending: Pending[] = []
  #lines = new LineSplitter(MAX_ANSWER)
  /** The answer to a sync has begun. */
  #delimited = false
  #end: VmapipeError | null = null

  /** Connects; what is sent meanwhile waits. Whether it worked shows in the answers. */
  constructor(path: string) {
    this.#path = path
    this.#socket = connect({ path })
    this.#socket.on('data', (chunk) => this.#received(chunk))
    this.#socket.on('error', (error) => this.#fail(error))
    this.#socket.on('end', () => this.#fail(new VmapipeError('FAILED', 'the connection was closed')))
  }

  /** Makes sure that answers from now on are answers to what is sent from now on. */
  sync(timeout: number): Promise<void> {
    const id = Math.floor(Math.random() * 2 ** 31)
    this.#socket.write(Buffer.of(DELIMITER))
    return this.#send('guest-sync-delimited', { id }, timeout, id)
  }

  /**
   * What the command returns. FAILED with a QmpError as its cause where the agent refuses; FAILED after `timeout` ms,
   * and then the channel is closed: nobody knows any more what the next answer belongs to.
   */
  execute<T = any>(command: string, timeout: number): Promise<T> {
    return this.#send(command, undefined, timeout, null)
  }

  /** May be called more than once. What waits fails with `reason`. */
  close(reason: unknown = new VmapipeError('FAILED', 'the connection was closed')): void {
    this.#fail(reason)
  }

  #send(command: string, args: object | undefined, timeout: number, syncId: number | null): Promise<any> {
    if (this.#end) return Promise.reject(this.#end)
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.#fail(unanswered(command, timeout)), timeout)
      this.#pending.push({ command, syncId, resolve, reject, timer })
      this.#socket.write(`${JSON.stringify({ execute: command, ...(args && { arguments: args }) })}\n`)
    })
  }

  #received(chunk: Buffer): void {
    try {
      const bytes = this.#afterDelimiter(chunk)
      if (bytes === null) return
      for (const line of this.#lines.push(bytes)) {
        if (this.#end) return
        if (line.trim() !== '') this.#answered(line)
      }
    } catch (error) {
      this.#fail(error)
    }
  }

  /** While a sync waits for its answer, only what follows the last delimiter counts. */
  #afterDelimiter(chunk: Buffer): Buffer | null {
    if (this.#pending[0]?.syncId == null) return chunk
    const at = chunk.lastIndexOf(DELIMITER)
    if (at === -1) return this.#delimited ? chunk : null
    this.#delimited = true
    this.#lines = new LineSplitter(MAX_ANSWER)
    return chunk.subarray(at + 1)
  }

  #answered(line: string): void {
    const [pending] = this.#pending
    if (pending === undefined) throw new VmapipeError('FAILED', 'the agent answered what nobody asked')
    const { command, syncId, resolve, reject, timer } = pending
    const answer = parseAnswer(line, syncId !== null)
    if (syncId !== null && (answer?.kind !== 'return' || answer.value !== syncId)) {
      // Somebody else's sync, or its remains: ours is still to come.
      this.#delimited = false
      return
    }
    if (answer?.kind !== 'return' && answer?.kind !== 'error')
      throw new VmapipeError('FAILED', 'the agent sent something that is no answer')
    this.#pending.shift()
    this.#delimited = false
    clearTimeout(timer)
    if (answer.kind === 'return') resolve(answer.value)
    else reject(refusal(command, answer.class, answer.desc))
  }

  #fail(cause: unknown): void {
    if (this.#end) return
    const { code, message, hint, cause: reason } = asVmapipeError(cause)
    this.#end = new VmapipeError(code, `guest agent ${this.#path}: ${message}`, { hint, cause: reason })
    this.#socket.destroy()
    for (const { reject, timer } of this.#pending.splice(0)) {
      clearTimeout(timer)
      reject(this.#end)
    }
  }
}

/** What stands between delimiter and answer of a sync may be anything: then null. */
function parseAnswer(line: string, lenient: boolean) {
  try {
    return parseMessage(line)
  } catch (error) {
    if (lenient) return null
    throw new VmapipeError('FAILED', 'the agent sent something that is no answer', { cause: error })
  }
}

function unanswered(command: string, timeout: number): VmapipeError {
  return new VmapipeError('FAILED', `no answer to ${command} within ${timeout / 1000} s`, {
    hint: 'does qemu-ga run in the guest, and is nobody else connected to its socket?',
  })
}

function refusal(command: string, kind: string, desc: string): VmapipeError {
  return new VmapipeError('FAILED', `the guest agent refuses ${command}: ${desc}`, {
    cause: new QmpError(command, kind, desc),
  })
}
