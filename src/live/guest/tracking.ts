/** What a backup of a guest has to know of the stage that drops unchanged clusters: the parent, and whether and for which target QEMU keeps bitmaps. */

import { dirname, resolve } from 'node:path'
import type { BoundStage } from '../../core/stage.ts'
import type { Parent } from '../../stages/change-filter/parent.ts'
import { CHANGE_FILTER } from '../../stages/change-filter.ts'
import type { TrackingWish } from '../qemu/bitmaps/tracking.ts'
import type { BitmapParent } from '../qemu/bitmaps/trust.ts'
import type { GuestOptions } from './options.ts'

interface FilterOptions {
  against?: Parent | string
}

/** Null: no bitmap is used or made. `names`: of the drives. `uuid`: of the archive; null if the user has given it. */
export function trackingWish(
  { track }: Pick<GuestOptions, 'track'>,
  rest: readonly BoundStage[],
  { names, uuid }: { names: readonly string[]; uuid: string | null },
): TrackingWish | null {
  if (!rest.some(isFilter) && track !== true) return null
  const parent = parentIn(rest)
  return { target: targetOf(rest), uuid, parent: parent && parentOf(parent, names) }
}

/** The parent that clusters are compared with; null if the archive becomes a full one. */
export function parentIn(rest: readonly BoundStage[]): Parent | null {
  const { against } = (rest.find(isFilter)?.options ?? {}) as FilterOptions
  return against === undefined || typeof against === 'string' ? null : against
}

function isFilter({ definition }: BoundStage): boolean {
  return definition.name === CHANGE_FILTER
}

function parentOf({ record, drive }: Parent, names: readonly string[]): BitmapParent {
  const clusters = names.flatMap((name) => {
    const before = drive(name)
    return before === null ? [] : [[name, before.clusters] as const]
  })
  return { uuid: Buffer.from(record.uuid).toString('hex'), clusters: Object.fromEntries(clusters) }
}

/** The folder that the archive goes to. Streams and commands have no place, and count as one target. */
function targetOf(rest: readonly BoundStage[]): string {
  const last = rest.at(-1)!
  // Of several places the first one counts.
  const { branches } = last.options as { branches?: readonly { stages: readonly BoundStage[] }[] }
  if (branches !== undefined && branches.length > 0) return targetOf(branches[0].stages)
  const place = last.definition.destination?.(last.options as never)?.place
  if (place === undefined) return '-'
  return /^[a-z][a-z0-9+.-]*:/i.test(place) ? place.slice(0, place.lastIndexOf('/') + 1) : dirname(resolve(place))
}
