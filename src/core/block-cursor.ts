/** Walks through bytes that are spread over several views and gives views of them. */

export class BlockCursor {
  readonly #views: readonly Uint8Array[]
  #index = 0
  #offset = 0

  constructor(views: readonly Uint8Array[]) {
    this.#views = views
  }

  /** Appends views of the next `bytes` bytes to `into`. They must be there. */
  take(bytes: number, into: Uint8Array[]): void {
    let left = bytes
    while (left > 0) {
      const view = this.#views[this.#index]
      const length = Math.min(left, view.byteLength - this.#offset)
      into.push(length === view.byteLength ? view : view.subarray(this.#offset, this.#offset + length))
      left -= length
      this.#advance(length, view)
    }
  }

  #advance(length: number, view: Uint8Array): void {
    this.#offset += length
    if (this.#offset < view.byteLength) return
    this.#index++
    this.#offset = 0
  }
}
