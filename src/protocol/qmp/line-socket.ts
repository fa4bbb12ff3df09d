/** A unix socket that carries one JSON text a line, as a QMP server and a guest agent do. */

import { connect, type Socket } from 'node:net'
import { LineSplitter, MAX_LINE } from './lines.ts'

interface LineListener {
  /** Takes a line that is not blank. An error that is thrown ends the socket. */
  line(text: string): void
  /** The socket has ended, and why: null if the peer closed it. Nothing comes after it. `isMidway`: within a line. */
  ended(error: unknown, isMidway: boolean): void
  /** The bytes that count of those that have come; null if none of them do. All do by default. */
  admit?(chunk: Buffer): Buffer | null
}

export class LineSocket {
  readonly #socket: Socket
  readonly #listener: LineListener
  readonly #limit: number
  #lines: LineSplitter
  #ended = false

  /** Connects to a path, or takes a socket that is connected. What is sent meanwhile waits. `limit`: bytes of a line at most. */
  constructor(to: string | Socket, listener: LineListener, limit = MAX_LINE) {
    this.#listener = listener
    this.#limit = limit
    this.#lines = new LineSplitter(limit)
    this.#socket = typeof to === 'string' ? connect({ path: to }) : to
    this.#socket.on('data', (chunk) => this.#received(chunk))
    this.#socket.on('error', (error) => this.#end(error))
    this.#socket.on('end', () => this.#end(null))
  }

  send(value: object): void {
    this.#socket.write(`${JSON.stringify(value)}\n`)
  }

  write(bytes: Uint8Array): void {
    this.#socket.write(bytes)
  }

  /** Forgets the line whose beginning has come. */
  forget(): void {
    this.#lines = new LineSplitter(this.#limit)
  }

  /** Nothing is reported any more. May be called more than once. */
  close(): void {
    this.#ended = true
    this.#socket.destroy()
  }

  #received(chunk: Buffer): void {
    try {
      const bytes = this.#listener.admit ? this.#listener.admit(chunk) : chunk
      if (bytes === null) return
      for (const line of this.#lines.push(bytes)) {
        if (this.#ended) return
        if (line.trim() !== '') this.#listener.line(line)
      }
    } catch (error) {
      this.#end(error)
    }
  }

  #end(error: unknown): void {
    if (this.#ended) return
    this.close()
    this.#listener.ended(error, this.#lines.pending > 0)
  }
}
