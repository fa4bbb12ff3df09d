/**
 * Addresses of memory. By them a thread reads what another one holds, in place: nothing is copied, and the memory need not be a
 * SharedArrayBuffer, which many interfaces of Node refuse. Null if koffi cannot be loaded.
 *
 * The thread that holds the memory must keep it until the other one is done: it must neither free it nor write into it.
 */

import { type Koffi, loadKoffi } from './koffi.ts'
import { native } from './native.ts'

/** Where a piece of memory is: its address and its bytes. */
export interface MemoryPlace {
  address: number
  bytes: number
}

export interface Addresses {
  /** Where the memory of a buffer is. */
  placeOf(memory: ArrayBufferLike): MemoryPlace
  /** The memory at a place, without a copy. */
  memoryAt(place: MemoryPlace): Uint8Array
}

export const addresses = native(() => new KnownAddresses(loadKoffi()))

/** Memory is used again and again: what was looked up is kept, up to this many pieces. */
const MOST_KNOWN = 256

class KnownAddresses implements Addresses {
  readonly #koffi: Koffi
  readonly #places = new WeakMap<ArrayBufferLike, MemoryPlace>()
  readonly #memory = new Map<number, Uint8Array>()

  constructor(koffi: Koffi) {
    this.#koffi = koffi
  }

  placeOf(memory: ArrayBufferLike): MemoryPlace {
    let place = this.#places.get(memory)
    if (place === undefined) {
      const address = Number(this.#koffi.address(new Uint8Array(memory)))
      place = { address, bytes: memory.byteLength }
      this.#places.set(memory, place)
    }
    return place
  }

  memoryAt({ address, bytes }: MemoryPlace): Uint8Array {
    const known = this.#memory.get(address)
    if (known?.byteLength === bytes) return known
    if (this.#memory.size === MOST_KNOWN) this.#memory.clear()
    const memory = new Uint8Array(this.#koffi.view(BigInt(address), bytes))
    this.#memory.set(address, memory)
    return memory
  }
}
