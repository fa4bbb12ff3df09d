/** A work as an agent is told of it, and its places as limits count them. */

import type { Work } from '../messages/work.ts'
import type { WorkPlace } from '../planner/types.ts'
import type { OpenWork } from './state.ts'

/** Places of a job as limits count them. */
export function placesOf(places: readonly WorkPlace[]): WorkPlace[] {
  return places.map(({ place, storage, parallel }) => ({ place, storage, parallel }))
}

/** What the agent is told of a work. */
export function messageOf(work: OpenWork): Work {
  const common = { id: work.id, attempt: work.attempt }
  const { full, now, archive, boot, work: other, reason, archives } = work.asked as Record<string, any>
  switch (work.kind) {
    case 'run':
      return {
        ...common,
        kind: 'run',
        job: work.job!,
        guest: work.guest!,
        due: work.due.toISOString(),
        ...(full === undefined ? {} : { full }),
        ...(now === true ? { now } : {}),
      }
    case 'verify':
      return { ...common, kind: 'verify', job: work.job!, archive, ...(boot === undefined ? {} : { boot }) }
    case 'prune':
      return { ...common, kind: 'prune', job: work.job!, ...(work.guest === null ? {} : { guest: work.guest }) }
    case 'cancel':
      return { ...common, kind: 'cancel', work: other, reason }
    case 'report':
      return { ...common, kind: 'report', archives }
  }
}
