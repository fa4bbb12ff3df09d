/**
 * What a prune of a job would remove, by the rules that its host has told and the archives that it reported. The host decides by its own
 * rules when it prunes; what it finds in use, or has changed since, stays.
 */

import { createHash } from 'node:crypto'
import type { CatalogEntry, Check } from '../../catalog/entry.ts'
import { prunePlan, type Verdict } from '../../catalog/prune-plan.ts'
import type { Keep } from '../../catalog/retention.ts'
import type { JobRow } from '../../fleet/fleet.ts'
import type { PruneView } from '../house.ts'
import { archiveId } from './archive-ids.ts'
import type { FleetArchive } from './rows.ts'

interface Asked {
  job: JobRow
  archives: readonly FleetArchive[]
  guest: string | undefined
  /** Milliseconds since 1970. */
  now: number
  zone: string | null
}

/** Errors: FAILED if an archive is of the future. */
export function pruneView({ job, archives, guest, now, zone }: Asked): PruneView {
  const verdicts = job.places.flatMap(({ place, keep }) => {
    const there = archives.filter((archive) => archive.job === job.name && isAt(archive.place, place))
    if (keep === null) return []
    const options = { now, inUse: new Set<string>(), guest, ...(zone !== null && { timeZone: zone }) }
    return prunePlan(there.map(entryOf), keep as Keep, options)
  })
  const rows = verdicts.map((verdict) => rowOf(verdict, job))
  const going = rows.filter(({ stays }) => !stays)
  const token = createHash('sha256').update(JSON.stringify(going)).digest('base64url')
  return { token, rows, bytes: going.reduce((sum, { size }) => sum + size, 0) }
}

function isAt(archive: string, place: string): boolean {
  const folder = place.endsWith('/') ? place : `${place}/`
  return archive === place || archive.startsWith(folder)
}

function entryOf(archive: FleetArchive): CatalogEntry {
  return { ...archive, written: null, checks: archive.checks as unknown as Check[] } as CatalogEntry
}

function rowOf({ entry, stays, reasons }: Verdict, { host, name: job }: JobRow): PruneView['rows'][number] {
  const { place, name, size } = entry
  return { archive: archiveId({ host, job, place, name }), place, size, stays, reasons }
}
