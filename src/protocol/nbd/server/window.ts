/**
 * What one client may have in flight: requests, and bytes of memory for their payload. A request counts from before its
 * payload is read until the kernel has its reply, so a client that reads no replies is not read from either.
 */
export class Window {
  readonly #maxRequests: number
  readonly #maxBytes: number
  #requests = 0
  #bytes = 0

  constructor(maxRequests: number, maxBytes: number) {
    this.#maxRequests = maxRequests
    this.#maxBytes = maxBytes
  }

  get requests(): number {
    return this.#requests
  }

  /** A request that is larger than the window is admitted alone. */
  admits(bytes: number): boolean {
    if (this.#requests >= this.#maxRequests) return false
    return this.#bytes === 0 || this.#bytes + bytes <= this.#maxBytes
  }

  enter(bytes: number): void {
    this.#requests++
    this.#bytes += bytes
  }

  leave(bytes: number): void {
    this.#requests--
    this.#bytes -= bytes
  }
}
