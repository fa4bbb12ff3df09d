/**
 * Hashes clusters (README.md beside this file, section 5): BLAKE3, cut to 16 bytes. The compiled code of @napi-rs/blake-hash hashes
 * about as fast as CRC-32 is computed. The fallback is the WebAssembly of hash-wasm, which is several times slower.
 */

import { BLOCK_SIZE, CLUSTER_SIZE, FULL_MASK, popcount16 } from '../../core/geometry.ts'
import { native, requireCompiled } from '../../system/native.ts'

/** Bytes of a cluster hash. */
export const HASH_BYTES = 16
/** The checksum of an extent that stores nothing: of no hashes. */
export const NOTHING_STORED = 0xaf1349b9

/** Writes the first 16 bytes of BLAKE3 of these bytes to `into`, from `at` on. */
type Blake3 = (bytes: Uint8Array, into: Buffer, at: number) => void

const compiled = native(loadCompiled)
let portable: Promise<Blake3> | undefined

/** A hasher of compiled code; null if that cannot be loaded. */
export function compiledHasher(): ClusterHasher | null {
  const blake3 = compiled()
  return blake3 && new ClusterHasher(blake3)
}

/** A hasher of compiled code, or else of WebAssembly. */
export async function clusterHasher(): Promise<ClusterHasher> {
  return compiledHasher() ?? new ClusterHasher(await portableBlake3())
}

/** BLAKE3 in WebAssembly. */
export function portableBlake3(): Promise<Blake3> {
  portable ??= loadPortable()
  return portable
}

/** Takes digests as text: a Buffer that compiled code makes takes 1 µs longer, a tenth of the time to hash a cluster. */
function loadCompiled(): Blake3 {
  const { blake3UrlSafeBase64 } = requireCompiled('@napi-rs/blake-hash') as {
    blake3UrlSafeBase64(bytes: Uint8Array): string
  }
  return (bytes, into, at) => void into.write(blake3UrlSafeBase64(bytes), at, HASH_BYTES, 'base64url')
}

async function loadPortable(): Promise<Blake3> {
  const { createBLAKE3 } = await import('hash-wasm')
  const hasher = await createBLAKE3(HASH_BYTES * 8)
  return (bytes, into, at) => into.set(hasher.init().update(bytes).digest('binary'), at)
}

export class ClusterHasher {
  readonly #blake3: Blake3
  /** Stored blocks of one cluster that are in several views, and its mask. */
  readonly #gathered = new Uint8Array(CLUSTER_SIZE + 2)

  constructor(blake3: Blake3) {
    this.#blake3 = blake3
  }

  /** The first 16 bytes of BLAKE3 of these bytes. */
  digest(bytes: Uint8Array): Uint8Array {
    const hash = Buffer.alloc(HASH_BYTES)
    this.#blake3(bytes, hash, 0)
    return hash
  }

  /**
   * The hashes of clusters with these masks, one after the other. `blocks` are their stored blocks, in order. The hash of a cluster
   * that stores nothing is 16 zero bytes.
   */
  hashes(masks: ArrayLike<number>, blocks: readonly Uint8Array[]): Uint8Array {
    const all = Buffer.alloc(masks.length * HASH_BYTES)
    let view = 0
    let from = 0
    for (let index = 0; index < masks.length; index++) {
      const mask = masks[index]
      if (mask === 0) continue
      const length = popcount16(mask) * BLOCK_SIZE
      while (from === blocks[view].byteLength) [view, from] = [view + 1, 0]
      const isWhole = mask === FULL_MASK && from + length <= blocks[view].byteLength
      const bytes = isWhole ? blocks[view].subarray(from, from + length) : this.#gathered
      if (isWhole) from += length
      else {
        for (let filled = 0; filled < length; ) {
          while (from === blocks[view].byteLength) [view, from] = [view + 1, 0]
          const part = blocks[view].subarray(from, from + length - filled)
          bytes.set(part, filled)
          filled += part.byteLength
          from += part.byteLength
        }
      }
      this.#blake3(isWhole ? bytes : this.#withMask(mask, length), all, index * HASH_BYTES)
    }
    return all
  }

  /** The gathered blocks, and behind them the mask if it does not have all blocks. */
  #withMask(mask: number, length: number): Uint8Array {
    if (mask === FULL_MASK) return this.#gathered.subarray(0, length)
    this.#gathered[length] = mask >>> 8
    this.#gathered[length + 1] = mask & 0xff
    return this.#gathered.subarray(0, length + 2)
  }

  /** The checksum of an extent: the first 4 bytes of BLAKE3 over the hashes of its stored clusters. */
  extentChecksum(hashes: Uint8Array): number {
    if (hashes.byteLength === 0) return NOTHING_STORED
    const [a, b, c, d] = this.digest(hashes)
    return ((a << 24) | (b << 16) | (c << 8) | d) >>> 0
  }
}

/** The hashes of the clusters that store blocks, in order. */
export function storedHashes(masks: ArrayLike<number>, hashes: Uint8Array): Uint8Array {
  let stored = 0
  for (let index = 0; index < masks.length; index++) if (masks[index] !== 0) stored++
  if (stored === masks.length) return hashes
  const kept = new Uint8Array(stored * HASH_BYTES)
  let to = 0
  for (let index = 0; index < masks.length; index++) {
    if (masks[index] === 0) continue
    kept.set(hashes.subarray(index * HASH_BYTES, (index + 1) * HASH_BYTES), to)
    to += HASH_BYTES
  }
  return kept
}
