/** Puts archives into chains: a full one, and the incrementals that need it. The chain with the newest archive is first. */

import type { ArchiveRow } from '../../../house.ts'

export interface TreeRow {
  archive: ArchiveRow
  /** 0 is the first of a chain. A chain without branches has one level more, whatever its length. */
  depth: number
  /** Whether it is the last of its chain. */
  last: boolean
  /** Its parent is not there: it cannot be restored. */
  orphan: boolean
}

const time = ({ at }: ArchiveRow) => (at === null ? 0 : Date.parse(at))

/** The same archive may be at several places: each has chains of its own. */
const key = (row: ArchiveRow, uuid: string) => `${row.host}\n${row.place}\n${uuid}`

export function chainsOf(rows: readonly ArchiveRow[]): TreeRow[] {
  const known = new Map(rows.map((row) => [key(row, row.uuid), row]))
  const parentOf = (row: ArchiveRow) => (row.parent === null ? undefined : known.get(key(row, row.parent)))
  const children = new Map<ArchiveRow, ArchiveRow[]>()
  const roots: ArchiveRow[] = []
  for (const row of rows) {
    const parent = parentOf(row)
    if (parent === undefined || parent === row) roots.push(row)
    else children.set(parent, [...(children.get(parent) ?? []), row])
  }
  const chains = roots.map((root) => {
    const chain: TreeRow[] = []
    const seen = new Set<ArchiveRow>()
    // Children of a branch point are one level deeper; an only child is beside its parent. Damaged chains may be rings.
    const stack: [ArchiveRow, number][] = [[root, 0]]
    for (let next = stack.pop(); next !== undefined; next = stack.pop()) {
      const [archive, depth] = next
      if (seen.has(archive)) continue
      seen.add(archive)
      const orphan = archive === root && root.parent !== null
      chain.push({ archive, depth, last: false, orphan })
      const below = (children.get(archive) ?? []).toSorted((a, b) => time(b) - time(a))
      for (const child of below) stack.push([child, depth === 0 || below.length > 1 ? depth + 1 : depth])
    }
    chain.at(-1)!.last = true
    return { chain, newest: Math.max(...chain.map(({ archive }) => time(archive))) }
  })
  return chains.sort((a, b) => b.newest - a.newest).flatMap(({ chain }) => chain)
}
