/** What the backup of a guest takes one of, so that not too many run at once. */

import type { Job } from '../file/schema.ts'
import { type Guest, sourceKey } from '../guests/guest.ts'
import { placeKey } from './places.ts'
import type { Limit } from './slots.ts'

const DEFAULT_PARALLEL = 2

/** Guests at once on this host. */
export function parallelOf({ limits }: Job): number {
  return limits?.parallel ?? DEFAULT_PARALLEL
}

/** `disks`: those that the guest's images are on. A guest is known by its name and by how it is reached: both are locked. */
export function limitsOf(job: Job, guest: Guest, disks: readonly string[]): Limit[] {
  const { limits = {}, to } = job
  const places = new Map<string, number>()
  for (const entry of to) {
    const count = entry.parallel ?? limits['per-place']
    if (count !== undefined)
      places.set(placeKey(entry.place), Math.min(count, places.get(placeKey(entry.place)) ?? count))
  }
  return [
    { name: `guest:${guest.name}`, count: 1 },
    { name: `source:${sourceKey(guest.source)}`, count: 1 },
    { name: 'host', count: parallelOf(job) },
    ...[...places].map(([name, count]) => ({ name, count })),
    ...disks.map((disk) => ({ name: `disk:${disk}`, count: limits['per-disk']! })),
  ]
}
