/** Who is whose parent among the archives of a place, and which archives can be restored. */

import type { CatalogEntry } from './entry.ts'

/** The folder of an archive's place, with its slash. */
export function folderOfPlace({ place }: CatalogEntry): string {
  return place.slice(0, place.lastIndexOf('/') + 1)
}

export class Families {
  readonly #byUuid: Map<string, CatalogEntry[]>
  readonly #byParent: Map<string | null, CatalogEntry[]>
  readonly #good = new Map<CatalogEntry, boolean>()

  constructor(entries: readonly CatalogEntry[]) {
    this.#byUuid = Map.groupBy(
      entries.filter(({ uuid }) => uuid !== ''),
      ({ uuid }) => uuid,
    )
    this.#byParent = Map.groupBy(entries, ({ parent }) => parent)
  }

  /**
   * The archives that may be the parent of this one: all of that uuid in its folder, or else in others. Copies have the same uuid, and
   * which of them a restore takes is not known.
   */
  parentsOf(entry: CatalogEntry): readonly CatalogEntry[] {
    if (entry.parent === null) return []
    const all = this.#byUuid.get(entry.parent) ?? []
    const beside = all.filter((other) => folderOfPlace(other) === folderOfPlace(entry))
    return beside.length > 0 ? beside : all
  }

  /** The archives that may have this one as their parent. */
  childrenOf(entry: CatalogEntry): CatalogEntry[] {
    if (entry.uuid === '') return []
    return (this.#byParent.get(entry.uuid) ?? []).filter((child) => this.parentsOf(child).includes(entry))
  }

  /** Whether a restore of this archive can succeed, as far as it is known: it and one parent after the other is there, and passed its checks. */
  isGood(entry: CatalogEntry): boolean {
    const known = this.#good.get(entry)
    if (known !== undefined) return known
    // Whatever this chain leads to, all archives on the way lead to it too. A ring leads to nothing.
    const chain = new Set<CatalogEntry>()
    let good = true
    for (let at: CatalogEntry | undefined = entry; at !== undefined; ) {
      const told = this.#good.get(at)
      if (told !== undefined || chain.has(at)) {
        good = told ?? false
        break
      }
      chain.add(at)
      if (at.unreadable !== undefined || hasFailed(at)) good = false
      if (!good || at.parent === null) break
      const parents: readonly CatalogEntry[] = this.parentsOf(at)
      if (parents.length === 0) good = false
      at = parents.find((parent) => parent.unreadable === undefined && !hasFailed(parent)) ?? parents[0]
    }
    for (const one of chain) this.#good.set(one, good)
    return good
  }
}

/** Whether a check has failed, and no later one of all the data has passed. */
export function hasFailed({ checks }: CatalogEntry): boolean {
  const verified = checks.find(({ kind, passed }) => kind === 'verify' && passed)
  return checks.some(({ kind, passed, at }) => {
    return !passed && (kind === 'boot' || verified === undefined || Date.parse(verified.at) < Date.parse(at))
  })
}
