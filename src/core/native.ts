/**
 * Compiled code of other packages, and what only some systems have. Both are optional: npm leaves compiled packages out with
 * `--omit=optional` and on a platform that they do not know, and a folder mounted noexec loads none.
 */

import { createRequire } from 'node:module'

/** Loads something when it is first needed. Null for good if it cannot be loaded. */
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

/** A package with compiled code. Throws if it, or the code for this platform, cannot be loaded. */
export function requireCompiled(name: 'koffi' | 'lz4-napi' | '@node-rs/xxhash'): unknown {
  return require(name)
}
