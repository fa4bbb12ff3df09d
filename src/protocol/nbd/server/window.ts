import { roomFor } from './buffers.ts'

/** Longer payload is taken in pieces of 1 MiB, unless its reply must be one piece. */
export const PIECE_BYTES = 1 << 20

/** Every client may always have this much. So none waits because of the slow disk or the half request of another one. */
const OWN_BYTES = roomFor(PIECE_BYTES)

/**
 * What may be read beyond the limits while a disk holds requests for a backup: requests of one client, and bytes of all clients
 * together. A held request costs little more than its payload. Those behind it must be read, because reads are not held, and because
 * `--max-stall` counts from the moment when a request is known.
 */
const MOST_HELD = { requests: 4096, bytes: 64 << 20 }

/** The memory for payload that all clients of a server share for one kind of requests, in bytes. */
export class SharedRoom {
  readonly total: number
  used = 0
  /** The client whose request is larger than all limits. There is one such request at a time. */
  #large: Window | null = null
  readonly #waiting = new Set<() => void>()

  constructor(total: number) {
    this.total = total
  }

  get large(): Window | null {
    return this.#large
  }

  set large(owner: Window | null) {
    this.#large = owner
    if (owner !== null) return
    const waiting = [...this.#waiting]
    this.#waiting.clear()
    for (const wake of waiting) wake()
  }

  /** Whether a client waits for the end of the large request. */
  get isWanted(): boolean {
    return this.#waiting.size > 0
  }

  /** `wake` is called once, when the large request has ended. */
  onEnd(wake: () => void): void {
    this.#waiting.add(wake)
  }

  forget(wake: () => void): void {
    this.#waiting.delete(wake)
  }
}

/**
 * Limits what one client may have in flight: requests, and bytes of memory for their payload. A request counts from before its
 * payload is read until the kernel has taken its reply. So no more requests are read of a client that reads no replies.
 */
export class Window {
  readonly #maxRequests: number
  readonly #maxBytes: number
  readonly #shared: SharedRoom
  #requests = 0
  #bytes = 0
  /** The bytes of the request that is larger than all limits, if it is of this client. */
  #large = 0
  #closed = false

  constructor(maxRequests: number, maxBytes: number, shared: SharedRoom) {
    this.#maxRequests = maxRequests
    this.#maxBytes = maxBytes
    this.#shared = shared
  }

  get requests(): number {
    return this.#requests
  }

  /** Whether another client waits for the end of a request of this one. */
  get blocksOthers(): boolean {
    return this.#large > 0 && this.#shared.isWanted
  }

  /**
   * Whether the request may be taken. If not, it is tried again when one of the client's requests has left, or when the large
   * request of another client has. `held`: the disk holds requests for a backup.
   */
  admits(bytes: number, held = false): boolean {
    if (this.#requests >= (held ? Math.max(this.#maxRequests, MOST_HELD.requests) : this.#maxRequests)) return false
    if (bytes === 0 || this.#fits(bytes)) return true
    if (held && this.#shared.used + bytes <= MOST_HELD.bytes) return true
    return this.#bytes === 0 && this.#shared.large === null
  }

  enter(bytes: number): void {
    if (bytes > OWN_BYTES && !this.#fits(bytes)) {
      this.#shared.large = this
      this.#large = bytes
    }
    this.#requests++
    this.#bytes += bytes
    if (!this.#closed) this.#shared.used += bytes
  }

  leave(bytes: number): void {
    this.#requests--
    this.#bytes -= bytes
    if (this.#closed) return
    this.#shared.used -= bytes
    if (this.#large === bytes && bytes > 0) this.#endLarge()
  }

  /** Notes that the client has gone. Payload that has not come never will. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#shared.used -= this.#bytes
    if (this.#large > 0) this.#endLarge()
  }

  #fits(bytes: number): boolean {
    const own = this.#bytes + bytes
    const { used, total } = this.#shared
    if (own <= OWN_BYTES && (own <= this.#maxBytes || this.#bytes === 0)) return true
    return own <= this.#maxBytes && used + bytes <= total
  }

  #endLarge(): void {
    this.#large = 0
    this.#shared.large = null
  }
}
