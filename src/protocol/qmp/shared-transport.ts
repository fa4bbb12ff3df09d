/**
 * QMP over a unix socket that other programs use too. QEMU serves one client of a socket at a time, and lets the next one in when it has
 * left. So this connects when there is something to send, and leaves when all answers have come and nothing follows. It leaves with no
 * answer open: QEMU would give it to the next client.
 *
 * Events come only by chance, while it is connected.
 */

import { randomInt } from 'node:crypto'
import { VmapipeError } from '../../core/errors.ts'
import { LineSocket } from './line-socket.ts'
import { parseMessage, type QmpMessage, violation } from './message.ts'
import { hungUp, unreachable } from './socket-transport.ts'
import type { QmpCommand, QmpTransport, TransportListener } from './transport.ts'

/** Milliseconds after the last answer: the next command often follows at once. */
const IDLE_MS = 50
/** After this many milliseconds of one connection the others get their turn between two commands. */
const TURN_MS = 1000
/** Milliseconds between two attempts while as many clients wait as QEMU lets wait. */
const RETRY_MS = 50

interface SharedOptions {
  /** Milliseconds to wait until QEMU lets us in. */
  patience: number
}

interface Query {
  id: number
  command: QmpCommand
}

export class SharedTransport implements QmpTransport {
  readonly name: string
  readonly watching = 'shared'
  readonly #listener: TransportListener
  readonly #patience: number
  /** Not sent yet. */
  #queue: Query[] = []
  /** Sent, and without an answer. */
  readonly #open = new Set<number>()
  #socket: LineSocket | null = null
  /** The id of our `qmp_capabilities`. */
  #negotiation = 0
  #isIn = false
  #inSince = 0
  #kept = 0
  /** In this turn of the event loop something was sent. */
  #isSending = false
  #idle: NodeJS.Timeout | undefined
  #waiting: NodeJS.Timeout | undefined
  #retry: NodeJS.Timeout | undefined
  #closed = false

  constructor(path: string, listener: TransportListener, { patience }: SharedOptions) {
    this.name = path
    this.#listener = listener
    this.#patience = patience
  }

  send(id: number, command: QmpCommand): void {
    this.#queue.push({ id, command })
    clearTimeout(this.#idle)
    if (this.#isIn && this.#mayGoOn()) this.#flush()
    else if (this.#open.size === 0) this.#enter()
  }

  keep(): () => void {
    this.#kept++
    let isKept = true
    return () => {
      if (isKept) this.#kept--
      isKept = false
      if (this.#isIn) this.#rest()
    }
  }

  close(): void {
    this.#closed = true
    this.#queue = []
    this.#leave()
  }

  /** Whether our turn lasts. It does not end in the middle of what belongs together: commands that are sent at once are not parted. */
  #mayGoOn(): boolean {
    return this.#kept > 0 || this.#isSending || performance.now() - this.#inSince < TURN_MS
  }

  #enter(): void {
    if (this.#isIn) this.#leave()
    if (this.#socket !== null || this.#retry !== undefined || this.#closed) return
    this.#waiting ??= setTimeout(() => this.#giveUp(), this.#patience)
    this.#connect()
  }

  #connect(): void {
    this.#retry = undefined
    this.#socket = new LineSocket(this.name, {
      line: (text) => this.#received(parseMessage(text)),
      ended: (error, isMidway) => this.#ended(error, isMidway),
    })
  }

  #received(message: QmpMessage): void {
    if (message.kind === 'greeting') {
      this.#negotiation = randomInt(2 ** 47)
      this.#socket!.send({ execute: 'qmp_capabilities', id: this.#negotiation })
    } else if (!this.#isIn) {
      this.#negotiated(message)
    } else {
      const isAnswer = message.kind !== 'event' && this.#open.delete(message.id as number)
      this.#listener.message(message)
      if (isAnswer) this.#rest()
    }
  }

  /** The answer to our negotiation. Events come too, and what QEMU still had for the client before. */
  #negotiated(message: QmpMessage): void {
    if (message.kind !== 'return' && message.kind !== 'error') return
    if (message.id !== this.#negotiation) return
    if (message.kind === 'error') throw violation(`it refuses qmp_capabilities: ${message.desc}`)
    clearTimeout(this.#waiting)
    this.#waiting = undefined
    this.#isIn = true
    this.#inSince = performance.now()
    this.#flush()
  }

  #flush(): void {
    const queue = this.#queue
    this.#queue = []
    for (const { id, command } of queue) {
      this.#open.add(id)
      this.#socket!.send({ ...command, id })
      this.#listener.sent(id)
    }
    if (this.#isSending) return
    this.#isSending = true
    setImmediate(() => {
      this.#isSending = false
      this.#rest()
    })
  }

  /** Leaves soon if nothing is to be done, and at once if it was our turn for long enough. */
  #rest(): void {
    clearTimeout(this.#idle)
    if (this.#open.size > 0 || !this.#isIn) return
    if (this.#queue.length > 0) {
      if (this.#mayGoOn()) this.#flush()
      else this.#enter()
    } else if (this.#kept === 0) {
      this.#idle = setTimeout(() => this.#leave(), this.#mayGoOn() ? IDLE_MS : 0)
    }
  }

  #leave(): void {
    for (const timer of [this.#idle, this.#waiting, this.#retry]) clearTimeout(timer)
    this.#waiting = undefined
    this.#retry = undefined
    this.#socket?.close()
    this.#socket = null
    this.#isIn = false
  }

  #ended(error: unknown, isMidway: boolean): void {
    this.#socket = null
    if ((error as NodeJS.ErrnoException | null)?.code === 'EAGAIN') {
      this.#retry = setTimeout(() => this.#connect(), RETRY_MS)
      return
    }
    // QEMU hangs up on us in the middle of nothing only if it ends: the next command finds out.
    const isIdle = this.#isIn && this.#open.size === 0 && this.#queue.length === 0
    this.#leave()
    if (isIdle || this.#closed) return
    this.#closed = true
    this.#listener.ended(error === null ? hungUp(isMidway) : unreachable(error))
  }

  /** Others have the monitor and do not let it go. Later commands may have more luck. */
  #giveUp(): void {
    this.#leave()
    const queue = this.#queue
    this.#queue = []
    for (const { id } of queue) this.#listener.failed(id, occupied(this.#patience))
  }
}

function occupied(patience: number): VmapipeError {
  return new VmapipeError('FAILED', `another program has had the monitor for ${patience / 1000} s`, {
    hint: 'a QMP socket takes one client at a time: end the other one',
  })
}
