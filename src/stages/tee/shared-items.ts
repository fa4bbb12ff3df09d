/**
 * Items that several branches have at once. Their bytes are not copied: each branch has the same views, and a lease of its own in the
 * place of each lease. The memory is free when all branches have released it, or have ended.
 */

import { Lease } from '../../core/budget.ts'
import { Chunk, type Item, Range, Run } from '../../core/items.ts'

/** A branch's share of a lease. It may be released after the branch has ended, which does nothing. */
class SharedLease extends Lease {
  #isOver = false
  readonly #end: () => void

  constructor(lease: Lease, owner: SharedItems) {
    const end = () => {
      if (this.#isOver) return
      this.#isOver = true
      owner.forget(this)
      lease.release()
    }
    super(lease.bytes, end)
    this.#end = end
    lease.retain()
  }

  override release(): void {
    if (!this.#isOver) super.release()
  }

  end(): void {
    this.#end()
  }
}

/** What one branch has of the items. */
export class SharedItems {
  readonly #leases = new Set<SharedLease>()
  /** How many leases the branch has given back: it grows as long as the branch does something with its items. */
  released = 0

  /** Whether the branch has bytes that may keep others waiting. */
  get holdsAny(): boolean {
    return this.#leases.size > 0
  }

  /** The same item for the branch. The caller keeps its own. */
  share(item: Item): Item {
    if (item.kind === 'manifest' || item.leases.length === 0) return item
    const leases = item.leases.map((lease) => {
      const shared = new SharedLease(lease, this)
      this.#leases.add(shared)
      return shared
    })
    return withLeases(item, leases)
  }

  forget(lease: Lease): void {
    this.#leases.delete(lease as SharedLease)
    this.released++
  }

  /** Releases all that the branch still has. */
  end(): void {
    for (const lease of [...this.#leases]) lease.end()
  }
}

function withLeases(item: Exclude<Item, { kind: 'manifest' }>, leases: readonly Lease[]): Item {
  if (item.kind === 'run') {
    const run = new Run(item.drive, item.first, item.count, item.blocks, item.masks, leases)
    run.hashes = item.hashes
    return run
  }
  if (item.kind === 'range') return new Range(item.drive, item.offset, item.length, item.data, leases)
  const chunk = new Chunk(item.buffers, leases, item.gap)
  chunk.lookedUp = item.lookedUp
  chunk.hashes = item.hashes
  return chunk
}
