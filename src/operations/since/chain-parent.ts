/** Tells what each cluster was in the parent of an incremental backup: in the newest archive of its chain that has the cluster. */

import type { OpenHashes } from '../../chain/kept-hashes.ts'
import type { Chain } from '../../chain/open-chain.ts'
import { asVmapipeError } from '../../core/errors.ts'
import { clusterCount } from '../../core/geometry.ts'
import type { ParentRecord } from '../../core/items.ts'
import { HASH_BYTES } from '../../formats/vma/cluster-hash.ts'
import { driveNamed } from '../../formats/vma/names.ts'
import type { Parent, ParentDrive, StateRange } from '../../stages/change-filter/parent.ts'

/** A parent that is open. */
export interface OpenParent extends Parent {
  close(): Promise<void>
}

interface ChainParentOptions {
  record: ParentRecord
  /** Those of each archive of the chain. */
  hashes: readonly OpenHashes[]
  warn: (message: string) => void
  close: () => Promise<void>
}

/** One archive of the chain, as far as it has a drive. */
interface Level {
  hashes: OpenHashes
  states(first: number, count: number): Iterable<{ first: number; count: number; state: 'stored' | 'zero' | 'absent' }>
  id: number
  clusters: number
}

/** Clusters of one archive of the chain. */
interface LevelRange extends StateRange {
  level: Level | null
}

export class ChainParent implements OpenParent {
  readonly record: ParentRecord
  readonly close: () => Promise<void>
  readonly #chain: Chain
  readonly #hashes: readonly OpenHashes[]
  readonly #warn: (message: string) => void

  constructor(chain: Chain, { record, hashes, warn, close }: ChainParentOptions) {
    this.record = record
    this.close = close
    this.#chain = chain
    this.#hashes = hashes
    this.#warn = warn
  }

  readonly drive = (name: string): ParentDrive | null => {
    const info = driveNamed(this.#chain.manifest.drives, name)
    if (info === undefined) return null
    const levels: Level[] = []
    for (const [depth, { manifest, file }] of this.#chain.members.entries()) {
      const drive = depth === 0 ? info : driveNamed(manifest.drives, info.name)
      if (drive === undefined) break
      const { id, size } = drive
      const { index } = file.parts
      const states = (first: number, count: number) => index.states(id, first, first + count)
      levels.push({ hashes: this.#hashes[depth], states, id, clusters: clusterCount(size) })
    }
    return new ChainDrive(levels, this.#warn)
  }
}

/** Hashes that no cluster has: what cannot be compared counts as changed. */
const NO_HASH = 0xff

class ChainDrive implements ParentDrive {
  readonly clusters: number
  readonly #levels: readonly Level[]
  readonly #warn: (message: string) => void
  #hasWarned = false

  constructor(levels: readonly Level[], warn: (message: string) => void) {
    this.#levels = levels
    this.#warn = warn
    this.clusters = levels[0].clusters
  }

  *states(first: number, count: number): Generator<StateRange> {
    let open = null as StateRange | null
    for (const { first: at, count: length, state } of this.#ranges(first, count)) {
      if (open?.state === state) open.count += length
      else {
        if (open !== null) yield open
        open = { first: at, count: length, state }
      }
    }
    if (open !== null) yield open
  }

  async hashes(first: number, count: number): Promise<Uint8Array> {
    const all = new Uint8Array(count * HASH_BYTES)
    for (const range of this.#ranges(first, count)) {
      if (range.state !== 'stored') continue
      const from = (range.first - first) * HASH_BYTES
      try {
        all.set(await range.level!.hashes.read(range.level!.id, range.first, range.count), from)
      } catch (error) {
        const { code, line } = asVmapipeError(error)
        if (code !== 'DAMAGED' && code !== 'INCOMPLETE') throw error
        all.fill(NO_HASH, from, from + range.count * HASH_BYTES)
        if (!this.#hasWarned) this.#warn(`clusters are stored again, because the parent cannot tell of them: ${line}`)
        this.#hasWarned = true
      }
    }
    return all
  }

  /** The clusters by the archives that have them. A stack of its own instead of recursion: a chain may have very many archives. */
  *#ranges(first: number, count: number): Generator<LevelRange> {
    const stack = [{ depth: 0, ranges: this.#statesOf(0, first, count) }]
    for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
      const { value: range, done } = top.ranges.next()
      if (done) stack.pop()
      else if (range.state !== 'absent') yield { ...range, state: range.state, level: this.#levels[top.depth] }
      else if (top.depth + 1 === this.#levels.length) yield { ...range, state: 'unknown', level: null }
      else stack.push({ depth: top.depth + 1, ranges: this.#statesOf(top.depth + 1, range.first, range.count) })
    }
  }

  /** The states in one archive. Behind the end of its drive there is nothing. */
  *#statesOf(depth: number, first: number, count: number) {
    const { states, clusters } = this.#levels[depth]
    const known = Math.max(0, Math.min(first + count, clusters) - first)
    if (known > 0) yield* states(first, known)
    if (known < count) yield { first: first + known, count: count - known, state: 'absent' as const }
  }
}
