/**
 * Sends replies to a socket. The replies of one turn of the event loop go out with one system call. While the kernel takes these, the
 * next ones gather. The window of requests in flight bounds how many can gather.
 */

import type { Socket } from 'node:net'

/** For fewer bytes, a copy is cheaper than a vector. */
const SMALL_BYTES = 8192

interface Outgoing {
  bytes: Uint8Array
  sent(): void
}

export class Outbox {
  readonly #socket: Socket
  #waiting: Outgoing[] = []
  #bytes = 0
  #scheduled = false
  #sending = false

  constructor(socket: Socket) {
    this.#socket = socket
  }

  get isEmpty(): boolean {
    return !this.#sending && this.#waiting.length === 0
  }

  /** `sent` is called when the memory of `bytes` is free again, also when the connection has ended. */
  push(bytes: Uint8Array, sent: () => void): void {
    this.#waiting.push({ bytes, sent })
    this.#bytes += bytes.byteLength
    if (this.#scheduled || this.#sending) return
    this.#scheduled = true
    setImmediate(() => {
      this.#scheduled = false
      this.flush()
    })
  }

  /** Sends what waits, unless something is being sent. */
  flush(): void {
    if (this.#sending || this.#waiting.length === 0) return
    const batch = this.#waiting
    const small = this.#bytes <= SMALL_BYTES
    this.#waiting = []
    this.#bytes = 0
    if (this.#socket.destroyed) {
      for (const { sent } of batch) sent()
      return
    }
    this.#sending = true
    const done = () => {
      this.#sending = false
      for (const { sent } of batch) sent()
      this.flush()
    }
    if (batch.length === 1) this.#socket.write(batch[0].bytes, done)
    else if (small) this.#socket.write(Buffer.concat(batch.map(({ bytes }) => bytes)), done)
    else this.#gather(batch, done)
  }

  #gather(batch: Outgoing[], done: () => void): void {
    this.#socket.cork()
    for (const { bytes } of batch.slice(0, -1)) this.#socket.write(bytes)
    this.#socket.write(batch.at(-1)!.bytes, done)
    this.#socket.uncork()
  }
}
