/** Which of our bitmaps need not be kept: killed backups and given-up targets leave some, and QEMU would keep them for ever. */

import type { DirtyBitmap } from './found.ts'
import { FROZEN, isSince, keyOf } from './names.ts'

/** Pairs that stay on one node, beside those of the parent: of the same target, and of all. */
const OF_TARGET = 2
const OF_ALL = 8

interface Wish {
  target: string
  /** The parent's uuid. */
  keep: string | null
}

/** Inconsistent ones, which QEMU can do nothing but remove, and the oldest ones if there are too many. */
export function surplus(found: readonly DirtyBitmap[], { target, keep }: Wish): DirtyBitmap[] {
  const ours = found.filter(({ name }) => keyOf(name) !== null)
  const lost = new Set(ours.filter(({ inconsistent }) => inconsistent))
  for (const node of new Set(ours.map((bitmap) => bitmap.node))) {
    const here = ours.filter((bitmap) => bitmap.node === node && !lost.has(bitmap))
    const kept = here
      .filter(({ name }) => isSince(name) && keyOf(name)!.uuid !== keep)
      .sort((a, b) => keyOf(b.name)!.time - keyOf(a.name)!.time)
    const tooMany = [
      ...kept.filter(({ name }) => keyOf(name)!.target === target).slice(OF_TARGET),
      ...kept.slice(OF_ALL),
    ]
    const keys = new Set(tooMany.map(({ name }) => pairOf(name)))
    for (const bitmap of here) if (keys.has(pairOf(bitmap.name))) lost.add(bitmap)
  }
  return [...lost]
}

/** All of ours. */
export function isOurBitmap({ name }: DirtyBitmap): boolean {
  return name === FROZEN || keyOf(name) !== null
}

/** The same for both bitmaps of a pair. */
function pairOf(name: string): string {
  const { target, uuid, seal, time } = keyOf(name)!
  return `${target} ${uuid} ${seal} ${time}`
}
