/** Shows what a run of a job would do. */

import { Keyring } from '../codecs/age/keyring.ts'
import { columns } from '../core/columns.ts'
import { asVmapipeError, printable } from '../core/errors.ts'
import { pathIn } from '../jobs/file/load.ts'
import type { Job } from '../jobs/file/schema.ts'
import { findGuests } from '../jobs/guests/find.ts'
import { sourceText } from '../jobs/guests/guest.ts'
import { planArchive } from '../jobs/run/archive-plan.ts'
import { chosenGuests } from '../jobs/run/chosen.ts'
import { stateFolder } from '../jobs/state/folders.ts'
import { JobState } from '../jobs/state/job-state.ts'
import { interruptible } from './signals.ts'

interface PlanFlags {
  guests?: readonly string[] | undefined
  full?: boolean | undefined
  json?: boolean | undefined
}

export async function planLines(job: Job, { guests: names, full, json }: PlanFlags): Promise<string[]> {
  const { signal, dispose } = interruptible()
  try {
    const { guests, errors, warnings } = await findGuests(job, signal)
    const states = await new JobState(stateFolder(), job.name, () => {}).guests()
    const since = (name: string) => states.get(name)?.success ?? ''
    const chosen = chosenGuests(guests, names, job.name).sort((a, b) => (since(a.name) < since(b.name) ? -1 : 1))
    const keys = job.identity && new Keyring({ identities: job.identity.map((path) => pathIn(job, path)) })
    const plans = []
    for (const guest of chosen) {
      const about = { guest: guest.name, source: sourceText(guest.source), last: since(guest.name) || null }
      try {
        const options = {
          now: Date.now(),
          places: job.to,
          keys,
          signal,
          warn: (text: string) => void warnings.push(text),
          full,
          look: true,
        }
        const { kind, reason, targets, later } = await planArchive(job, guest, options)
        plans.push({ ...about, kind, reason, to: targets.map(({ to }) => to), later: later.map(({ place }) => place) })
      } catch (error) {
        plans.push({ ...about, kind: null, reason: asVmapipeError(error).text, to: [], later: [] })
      }
    }
    if (json) return [JSON.stringify({ job: job.name, guests: plans, errors, warnings }, null, 2)]
    const rows = plans.map(({ guest, source, kind, reason, to, later }) => [
      guest,
      source,
      kind ?? 'cannot',
      reason,
      [...to, ...later.map((place) => `${place} (a copy afterwards)`)].join(', '),
    ])
    return [
      ...columns([['guest', 'found as', 'archive', 'why', 'to'], ...rows.map((row) => row.map(printable))]),
      ...[...errors, ...warnings].map((text) => `warning: ${printable(text)}`),
    ]
  } finally {
    dispose()
  }
}
