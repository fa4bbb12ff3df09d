/** How a guest is protected: the same word, icon and colour everywhere. */

import type { GuestRow } from '../../../house.ts'
import { exactTime, promised, relativeTime } from '../../format.ts'
import { Badge, type Tone } from '../../parts/basics.tsx'
import { clock } from '../../state/clock.ts'

export type GuestState = GuestRow['state']

/** The worst first. */
export const STATES: readonly GuestState[] = ['unprotected', 'overdue', 'late', 'good']

export const STATE_TONES: Record<GuestState, Tone> = { unprotected: 'bad', overdue: 'bad', late: 'warn', good: 'good' }

export const STATE_MEANING: Record<GuestState, string> = {
  unprotected: 'in no job, or its host is gone',
  overdue: 'its last good backup is older than twice what its job promises, or there is none',
  late: 'its last good backup is older than its job promises',
  good: 'its last good backup is as young as its job promises',
}

export function StateBadge({ state }: { state: GuestState }) {
  return (
    <Badge tone={STATE_TONES[state]} icon={state} title={STATE_MEANING[state]}>
      {state}
    </Badge>
  )
}

/** The age of the last good backup, with how old it may be. */
export function Age({ row }: { row: GuestRow }) {
  const { lastGood, promise, state } = row
  const may = promise === null ? null : `at most ${promised(promise)}`
  return (
    <span class={`age two-lines ${STATE_TONES[state]}`}>
      {lastGood === null ? (
        'no backup'
      ) : (
        <time dateTime={lastGood} title={exactTime(lastGood)}>
          {relativeTime(lastGood, clock.value)}
        </time>
      )}
      {may && <span class="sub">{may}</span>}
    </span>
  )
}
