/** What all clients of a server together have in memory, in bytes of payload. */
export interface SharedBytes {
  used: number
  readonly total: number
}

/** A client may have so much however much the others have: nobody waits for anybody else's slow disk. */
const OWN_BYTES = 1 << 20

/**
 * What one client may have in flight: requests, and bytes of memory for their payload. A request counts from before its
 * payload is read until the kernel has its reply, so a client that reads no replies is not read from either.
 */
export class Window {
  readonly #maxRequests: number
  readonly #maxBytes: number
  readonly #shared: SharedBytes
  #requests = 0
  #bytes = 0
  #closed = false

  constructor(maxRequests: number, maxBytes: number, shared: SharedBytes) {
    this.#maxRequests = maxRequests
    this.#maxBytes = maxBytes
    this.#shared = shared
  }

  get requests(): number {
    return this.#requests
  }

  /**
   * A request that is larger than the window is admitted alone. Who is refused has requests in flight, and so is asked
   * again when one of them leaves.
   */
  admits(bytes: number): boolean {
    if (this.#requests >= this.#maxRequests) return false
    if (bytes === 0 || this.#bytes === 0) return true
    const { used, total } = this.#shared
    return this.#bytes + bytes <= this.#maxBytes && (this.#bytes + bytes <= OWN_BYTES || used + bytes <= total)
  }

  enter(bytes: number): void {
    this.#requests++
    this.#bytes += bytes
    if (!this.#closed) this.#shared.used += bytes
  }

  leave(bytes: number): void {
    this.#requests--
    this.#bytes -= bytes
    if (!this.#closed) this.#shared.used -= bytes
  }

  /** The client is gone, and with it the payload that has not come. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#shared.used -= this.#bytes
  }
}
