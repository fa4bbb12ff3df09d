/** The history of a job, or of all: half a year as a calendar, and the newest runs; those of one day if it is chosen. */

import { useMemo, useRef, useState } from 'preact/hooks'
import type { RunDay, RunRow } from '../../../house.ts'
import { longDay } from '../../format.ts'
import { Empty, Loaded, Section } from '../../parts/basics.tsx'
import { filter, route } from '../../router.ts'
import { useResource } from '../../state/resource.ts'
import { Calendar } from './calendar.tsx'
import { Runs } from './runs.tsx'

/** Runs that are listed at first, and how many more each time. */
const PAGE = 100

/** The midnight of the browser's zone at which the day begins, some days later. */
function midnight(day: string | number, later: number): string {
  const date = new Date(typeof day === 'string' ? `${day}T00:00:00` : day)
  date.setHours(0, 0, 0, 0)
  date.setDate(date.getDate() + later)
  return date.toISOString()
}

export function History({ host, job }: { host?: string; job?: string }) {
  const half = useMemo(() => midnight(Date.now(), -182), [])
  const [most, setMost] = useState(PAGE)
  const day = route.value.query.get('day')
  const zone = Intl.DateTimeFormat('en').resolvedOptions().timeZone
  const days = useResource<RunDay[]>('run-days', { host, job, since: half, zone }, 'jobs')
  const [since, until] = day ? [midnight(day, 0), midnight(day, 1)] : [half]
  const asked = useResource<RunRow[]>('runs', { host, job, since, until, most: `${most + 1}` }, 'jobs')
  // The list stays until the longer one is there.
  const shown = useRef(asked)
  if (asked.data.value ?? asked.error.value) shown.current = asked
  const choose = (key: string | null) => {
    setMost(PAGE)
    filter({ day: key })
  }
  return (
    <Section
      title="History"
      note={
        day ? (
          <>
            {longDay(`${day}T12:00:00`)}{' '}
            <button type="button" class="link" onClick={() => choose(null)}>
              show all
            </button>
          </>
        ) : (
          'the last half year'
        )
      }
    >
      <Loaded from={days}>
        {(sums) =>
          sums.length === 0 ? (
            <Empty icon="jobs" title="Nothing has run in this half year">
              <p>Runs appear here as soon as they have ended: by the schedule of a job, or by its button Start.</p>
            </Empty>
          ) : (
            <>
              <Calendar days={sums} chosen={day} choose={(key) => choose(key === day ? null : key)} />
              <Loaded from={shown.current}>
                {(rows) => (
                  <>
                    <Runs rows={rows.slice(0, most)} named={!job} />
                    {rows.length > most && (
                      <button type="button" class="button after" onClick={() => setMost(most + PAGE)}>
                        Show older ones
                      </button>
                    )}
                  </>
                )}
              </Loaded>
            </>
          )
        }
      </Loaded>
    </Section>
  )
}
