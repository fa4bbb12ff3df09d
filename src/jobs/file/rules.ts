/** Rules of a job file that are about several fields at once. */

import { VmapipeError } from '../../core/errors.ts'
import type { Problem } from '../../core/problems.ts'
import { parseCompression } from '../../operations/compression.ts'
import { parsePlace } from '../../storage/archive/spec.ts'
import type { Job } from './schema.ts'

/** All that does not fit together; empty if the job is good. */
export function checkJob(job: Job): Problem[] {
  return [...placesOf(job), ...compressionsOf(job), ...limitsOf(job), ...incrementalOf(job)]
}

function placesOf({ to }: Job): Problem[] {
  const problems = to.flatMap(({ place, ...entry }, index): Problem[] => {
    const path = ['to', index]
    const message = unusable(place)
    if (message !== null) return [{ path, ...message }]
    if (to.findIndex((other) => sameFolder(other.place) === sameFolder(place)) < index)
      return [{ path, message: `'${place}' is there twice`, hint: 'once is enough' }]
    const strange = (['retain-for', 'storage-class', 'sse', 'tags'] as const).find((key) => entry[key] !== undefined)
    if (strange !== undefined && !place.startsWith('s3:'))
      return [
        { path, message: `${strange} is for archives in a store, and this is none`, hint: 'write s3://bucket/prefix' },
      ]
    return []
  })
  if (to.every(({ required }) => required === false))
    problems.push({ path: ['to'], message: 'no place is required', hint: 'leave out required: false of one of them' })
  return problems
}

function sameFolder(place: string): string {
  return place.replace(/\/+$/, '')
}

/** Why archives cannot go into folders there; null if they can. */
function unusable(place: string): { message: string; hint: string | undefined } | null {
  try {
    const { kind } = parsePlace(`${sameFolder(place)}/guest/archive.vma`)
    if (kind === 'file' || kind === 'ssh' || kind === 's3') return null
    return {
      message: `'${place}' is no folder`,
      hint: 'a job writes to a folder, ssh://user@host/folder or s3://bucket/prefix',
    }
  } catch (error) {
    if (!(error instanceof VmapipeError)) throw error
    return { message: error.message, hint: error.hint }
  }
}

function compressionsOf({ compress, guests }: Job): Problem[] {
  const all = [
    { path: ['compress'], compress },
    ...guests.map((entry, index) => ({ path: ['guests', index, 'compress'], compress: entry.compress })),
  ]
  return all.flatMap(({ path, compress }) => {
    try {
      if (compress !== undefined) parseCompression(compress)
      return []
    } catch (error) {
      const { message, hint } = error as VmapipeError
      return [{ path, message, hint }]
    }
  })
}

function limitsOf({ limits = {} }: Job): Problem[] {
  if (limits['at-end'] !== undefined && limits.window === undefined)
    return [{ path: ['limits', 'at-end'], message: 'there is no window that ends', hint: 'add window: "22:00-06:00"' }]
  if (limits['slow-rate'] !== undefined && limits['at-end'] !== 'slow')
    return [{ path: ['limits', 'slow-rate'], message: 'backups are slowed only with at-end: slow' }]
  return []
}

function incrementalOf(job: Job): Problem[] {
  if (job.full === undefined || job.full.kind === 'always') return []
  const path = job.guests.findIndex(
    ({ checksums = job.checksums, index = job.index }) => checksums === false || index === false,
  )
  if (path === -1) return []
  return [
    {
      path: ['guests', path],
      message: 'an incremental archive must have checksums and an index',
      hint: 'leave out checksums: false and index: false, or say full: always',
    },
  ]
}
