/**
 * Tells screen readers what happens to backups: when one begins, at each quarter, when its phase changes, and when it ends. A backup takes
 * hours, so whoever listens is told of steps, and not of each percent.
 */

import { useEffect, useRef, useState } from 'preact/hooks'
import type { NowRow } from '../../../house.ts'
import { count } from '../../format.ts'
import { PHASES } from './running.tsx'

/** Of more steps at once only their number is told. */
const MOST = 3

export function Announcer({ rows }: { rows: NowRow[] }) {
  const [said, say] = useState('')
  // What is there when the view is opened is read with the view.
  const known = useRef(stepsOf(rows))
  useEffect(() => {
    const steps = stepsOf(rows)
    const words = [...steps].flatMap(([id, { guest, step }]) =>
      known.current.get(id)?.step === step ? [] : [`${guest}: ${step}`],
    )
    for (const [id, { guest }] of known.current) if (!steps.has(id)) words.push(`${guest}: ended`)
    known.current = steps
    if (words.length === 0) return
    const more = words.length - MOST
    say([...words.slice(0, MOST), ...(more > 0 ? [`and ${count(more, 'other backup')}`] : [])].join('. '))
  }, [rows])
  return (
    <p class="visually-hidden" aria-live="polite">
      {said || null}
    </p>
  )
}

function stepsOf(rows: NowRow[]): Map<string, { guest: string; step: string }> {
  return new Map(
    rows.map(({ id, guest, phase, snapshot }) => {
      const quarter = Math.floor((snapshot?.percent ?? 0) / 25) * 25
      return [id, { guest, step: `${PHASES[phase] ?? phase}${quarter > 0 ? `, ${quarter} percent` : ''}` }]
    }),
  )
}
