/**
 * The connection to a guest agent: JSON lines as in QMP, but without greeting, ids and events (QEMU Guest Agent Protocol
 * Reference, guest-sync-delimited). Answers come in order. The other end is inside the guest: it may be hostile or hung, or it
 * may not run at all. What an earlier client left unread may come first.
 */

import { asVmapipeError, VmapipeError } from '../../core/errors.ts'
import { LineSocket } from './line-socket.ts'
import { parseMessage } from './message.ts'
import { refused } from './qmp-error.ts'

/** The longest answer that is taken: 1 MiB. Those to the commands of ours have less than 1 KiB. */
const MAX_ANSWER = 1 << 20

/** A byte that JSON never has. Sent before a sync, it makes the agent forget what it has read; the answer begins with it too. */
const DELIMITER = 0xff

/** A command that was sent and has no answer. */
interface OpenCommand {
  command: string
  /** Of a sync: everything before its own answer is thrown away. */
  syncId: number | null
  resolve(value: unknown): void
  reject(error: Error): void
  timer: NodeJS.Timeout
}

export class AgentChannel {
  readonly #path: string
  readonly #socket: LineSocket
  readonly #open: OpenCommand[] = []
  /** The answer to a sync has begun. */
  #delimited = false
  #end: VmapipeError | null = null

  /** Connects. What is sent meanwhile waits; if the connection fails, it fails. */
  constructor(path: string) {
    this.#path = path
    const listener = {
      admit: (chunk: Buffer) => this.#afterDelimiter(chunk),
      line: (text: string) => this.#answered(text),
      ended: (error: unknown) => this.#fail(error ?? new VmapipeError('FAILED', 'the connection was closed')),
    }
    this.#socket = new LineSocket(path, listener, MAX_ANSWER)
  }

  /** Makes sure that answers from now on are answers to what is sent from now on. */
  async sync(timeout: number): Promise<void> {
    const id = Math.floor(Math.random() * 2 ** 31)
    this.#socket.write(Buffer.of(DELIMITER))
    await this.#send('guest-sync-delimited', { id }, timeout, id)
  }

  /**
   * Resolves with what the command returns, unchecked. FAILED with a QmpError as its cause if the agent refuses. FAILED after
   * `timeout` ms, and then the channel is closed: nobody knows any more what the next answer belongs to.
   */
  execute(command: string, timeout: number): Promise<unknown> {
    return this.#send(command, undefined, timeout, null)
  }

  /** Fails the commands without answer with `reason`. May be called more than once. */
  close(reason: unknown = new VmapipeError('FAILED', 'the connection was closed')): void {
    this.#fail(reason)
  }

  #send(command: string, args: object | undefined, timeout: number, syncId: number | null): Promise<unknown> {
    if (this.#end) return Promise.reject(this.#end)
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.#fail(unanswered(command, timeout)), timeout)
      this.#open.push({ command, syncId, resolve, reject, timer })
      this.#socket.send({ execute: command, ...(args && { arguments: args }) })
    })
  }

  /** While a sync waits for its answer, only what follows the last delimiter counts. */
  #afterDelimiter(chunk: Buffer): Buffer | null {
    if (this.#open[0]?.syncId == null) return chunk
    const at = chunk.lastIndexOf(DELIMITER)
    if (at === -1) return this.#delimited ? chunk : null
    this.#delimited = true
    this.#socket.forget()
    return chunk.subarray(at + 1)
  }

  #answered(line: string): void {
    const [oldest] = this.#open
    if (oldest === undefined) throw new VmapipeError('FAILED', 'the agent answered what nobody asked')
    const { command, syncId, resolve, reject, timer } = oldest
    const answer = parseAnswer(line, syncId !== null)
    if (syncId !== null && (answer?.kind !== 'return' || answer.value !== syncId)) {
      // The answer to another client's sync, or its rest. Ours is still to come.
      this.#delimited = false
      return
    }
    if (answer?.kind !== 'return' && answer?.kind !== 'error')
      throw new VmapipeError('FAILED', 'the agent sent something that is no answer')
    this.#open.shift()
    this.#delimited = false
    clearTimeout(timer)
    if (answer.kind === 'return') resolve(answer.value)
    else reject(refused('the guest agent', command, answer.class, answer.desc))
  }

  #fail(cause: unknown): void {
    if (this.#end) return
    const { code, message, hint, cause: reason } = asVmapipeError(cause)
    this.#end = new VmapipeError(code, `guest agent ${this.#path}: ${message}`, { hint, cause: reason })
    this.#socket.close()
    for (const { reject, timer } of this.#open.splice(0)) {
      clearTimeout(timer)
      reject(this.#end)
    }
  }
}

/** Parses an answer. Null if it is none and `lenient`: anything may come between the delimiter of a sync and its answer. */
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
    hint: 'does qemu-ga run in the guest, and is no other program connected to its socket?',
  })
}
