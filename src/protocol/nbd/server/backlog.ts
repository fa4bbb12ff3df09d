/**
 * Tells how long requests have been waiting in a socket that was not read because the window was full. When it is read again, the
 * bytes that were in the socket all the time come first: at most as many as a socket holds. Later bytes are newer.
 */

/** The most bytes that wait in a unix socket of Linux. A TCP socket may hold more. */
const SOCKET_BYTES = 256 * 1024

export class Backlog {
  /** Bytes of requests up to the end of the last header that was read, and up to the end of its payload. */
  #position = 0
  #next = 0
  #since: number | undefined
  #end = 0

  /** Since when the last request has been waiting, in milliseconds of `performance.now()`; undefined if it did not wait. */
  get since(): number | undefined {
    if (this.#since !== undefined && this.#position > this.#end) this.#since = undefined
    return this.#since
  }

  /** Notes that a header was read, and the bytes of payload behind it. */
  passed(header: number, payload: number): void {
    this.#position = this.#next + header
    this.#next = this.#position + payload
  }

  /** Notes that the last request waits, and that the socket is not read meanwhile. */
  begin(): void {
    if (this.since !== undefined) return
    this.#since = performance.now()
    this.#end = this.#position + SOCKET_BYTES
  }

  /** Notes that the socket is empty. */
  end(): void {
    this.#since = undefined
  }
}
