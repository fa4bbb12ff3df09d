/**
 * A connection that was opened with a request of HTTP, and that speaks our own protocol from then on: RFC 9110, "Upgrade".
 * Node hands it over with the request's body unread.
 */

import { type IncomingMessage, STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import { VmapipeError } from '../../../core/errors.ts'
import { MEMORY, PROTOCOL } from './messages.ts'

/** Milliseconds within which the announced body has to come. */
const BODY_MS = 30_000
/** Milliseconds for which a refused client may go on sending. */
const LINGER_MS = 5000

export function wantsHandover({ headers }: IncomingMessage): boolean {
  return headers.upgrade?.toLowerCase() === PROTOCOL
}

export class Upgrade {
  readonly #request: IncomingMessage
  readonly #socket: Socket
  #head: Buffer

  /** `head`: what has come behind the request's headers. */
  constructor(request: IncomingMessage, socket: Socket, head: Buffer) {
    this.#request = request
    this.#socket = socket
    this.#head = head
    // The socket is closed after an error too, and that is handled.
    socket.on('error', () => {})
    // A client that ends its side does not wait for an answer.
    socket.on('end', () => socket.destroy())
  }

  /** Inode of the memory that the other side shares; null if it shares none and all data is to go inline. */
  get inode(): number | null {
    const given = this.#request.headers[MEMORY.toLowerCase()]
    return given === undefined ? null : Number(given)
  }

  /** The request's body, of the length that its headers announce. */
  async *body(): AsyncGenerator<Buffer> {
    let left = Number(this.#request.headers['content-length'] ?? 0)
    this.#socket.setTimeout(BODY_MS, () => this.#socket.destroy())
    for (; left > this.#head.length; this.#head = await this.#more()) {
      left -= this.#head.length
      yield this.#head
    }
    this.#socket.setTimeout(0)
    if (left < this.#head.length) throw new VmapipeError('USAGE', 'there is more than the body')
    yield this.#head
  }

  /** From now on the socket is the protocol's. */
  accept(): Socket {
    this.#socket.write(`HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: ${PROTOCOL}\r\n\r\n`)
    return this.#socket
  }

  refuse(status: number, body: Buffer): void {
    const lines = [
      `HTTP/1.1 ${status} ${STATUS_CODES[status]}`,
      'Connection: close',
      'Content-Type: application/json',
      `Content-Length: ${body.length}`,
    ]
    if (this.#socket.writable) this.#socket.end(Buffer.concat([Buffer.from(`${lines.join('\r\n')}\r\n\r\n`), body]))
    // What still comes is thrown away: a client whose connection is closed while it sends would not see the answer.
    this.#socket.resume()
    setTimeout(() => this.#socket.destroy(), LINGER_MS).unref()
  }

  #more(): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      const gone = () => reject(new VmapipeError('FAILED', 'the connection was closed'))
      this.#socket.once('close', gone)
      this.#socket.once('data', (bytes: Buffer) => {
        this.#socket.pause()
        this.#socket.off('close', gone)
        resolve(bytes)
      })
      this.#socket.resume()
    })
  }
}
