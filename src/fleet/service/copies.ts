/**
 * Leaves out archives that several hosts tell of: each host that writes to a storage sees the archives of all. One that the hosts do not describe
 * in the same way stays as often as it is told: one of them may lie.
 */

import type { AgentArchive } from '../messages/events.ts'
import { isEverywhere } from '../planner/limit-keys.ts'
import type { StoredArchive } from '../store/archives.ts'
import type { FleetState, HostState } from './state.ts'

/** Of copies, the one that the guest's own host tells of stays; or that of a host that is there. */
export function withoutCopies(archives: readonly StoredArchive[], state: FleetState): StoredArchive[] {
  const best = new Map<string, StoredArchive>()
  const keys = archives.map((archive) => keyOf(archive, state.hosts.get(archive.host)))
  for (const [at, archive] of archives.entries()) {
    const key = keys[at]
    const other = key === null ? undefined : best.get(key)
    if (key !== null && (other === undefined || rankOf(archive, state) > rankOf(other, state))) best.set(key, archive)
  }
  return archives.filter((archive, at) => keys[at] === null || best.get(keys[at]) === archive)
}

/** The same for one archive that several hosts see; null if only one host can see it. */
function keyOf({ host: _, job: __, ...archive }: StoredArchive, host: HostState | undefined): string | null {
  const where = sharedBy(archive, host)
  if (where === null) return null
  const { place, name, guest, uuid, ctime, size } = archive
  return JSON.stringify([where, place, name, guest, uuid, ctime, size])
}

function sharedBy({ place }: AgentArchive, host: HostState | undefined): string | null {
  if (isEverywhere(place)) return ''
  for (const { place: base, storage } of host?.places.values() ?? [])
    if (storage !== null && place.startsWith(`${base.replace(/\/+$/, '')}/`)) return storage
  return null
}

function rankOf({ guest, host }: StoredArchive, state: FleetState): number {
  if (guest !== null && state.guests.get(guest)?.host === host) return 2
  return state.hosts.get(host)?.isThere ? 1 : 0
}
