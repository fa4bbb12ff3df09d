/**
 * How long requests have been waiting in a socket that was not read because the window was full. When it is read again,
 * what was in the socket all the time comes first: at most as much as a socket holds. What comes behind that is newer.
 */

/** Bytes that wait in a unix socket at most, as Linux has it; in one of TCP there may be more. */
const SOCKET_BYTES = 256 * 1024

export class Backlog {
  /** Bytes of requests so far, to the end of the header that was read last, and with the payload behind it. */
  #position = 0
  #next = 0
  #since: number | undefined
  #end = 0

  /** Of the request that was read last, in milliseconds of `performance.now()`; undefined if it did not wait. */
  get since(): number | undefined {
    if (this.#since !== undefined && this.#position > this.#end) this.#since = undefined
    return this.#since
  }

  /** A header of so many bytes has been read, with so much payload behind it. */
  passed(header: number, payload: number): void {
    this.#position = this.#next + header
    this.#next = this.#position + payload
  }

  /** The request that was read last waits, and the socket is not read. */
  begin(): void {
    if (this.since !== undefined) return
    this.#since = performance.now()
    this.#end = this.#position + SOCKET_BYTES
  }

  /** Nothing is left in the socket. */
  end(): void {
    this.#since = undefined
  }
}
