/**
 * Loads compiled code of other packages, and calls that only some systems have. Both are optional. npm omits compiled packages
 * with `--omit=optional` and on a platform that they do not support. They cannot be loaded from a folder mounted noexec.
 */

import { createRequire } from 'node:module'

/** Returns a function that loads something at its first call. It returns null from then on if that fails. */
export function native<Calls>(load: () => Calls): () => Calls | null {
  let loaded: Calls | null | undefined
  return () => {
    if (loaded === undefined) {
      try {
        loaded = load()
      } catch {
        loaded = null
      }
    }
    return loaded
  }
}

const require = createRequire(import.meta.url)

/** Loads a package with compiled code. Throws if the package or its code for this platform cannot be loaded. */
export function requireCompiled(name: 'koffi' | 'lz4-napi' | '@node-rs/xxhash' | '@napi-rs/blake-hash'): unknown {
  return require(name)
}
