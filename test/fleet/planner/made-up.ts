/** Hosts and works that are made up. */

import type { PlannedHost, PlannedWork, WorkPlace } from '../../../src/fleet/planner/types.ts'

export const NIGHT = Date.parse('2026-01-10T23:00:00Z')

export function host(name: string, more: Partial<PlannedHost> = {}): PlannedHost {
  return { host: name, zone: 'Europe/Berlin', parallel: 2, isUp: true, isDrained: false, ...more }
}

export function place(text: string, more: Partial<WorkPlace> = {}): WorkPlace {
  return { place: text, storage: null, parallel: null, ...more }
}

export const nas = (name: string) => place(`/mnt/${name}`, { storage: name })

/** A work of the guest `guest`, which is also its id. */
export function work(guest: string, more: Partial<PlannedWork> = {}): PlannedWork {
  const usual = { host: 'a', job: 'nightly', due: NIGHT, lastGood: NIGHT - 86_400_000, places: [nas('nas1')] }
  return { id: guest, guest, ...usual, window: null, notBefore: 0, ...more }
}

export const ids = (works: readonly PlannedWork[]) => works.map(({ id }) => id)
