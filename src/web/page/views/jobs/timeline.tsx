/** When jobs run next, over a day or a week. */

import { useState } from 'preact/hooks'
import type { JobRow } from '../../../house.ts'
import { clockTime, dayTime, exactTime, relativeTime } from '../../format.ts'
import { Section } from '../../parts/basics.tsx'
import { Segments } from '../../parts/field.tsx'
import { href } from '../../router.ts'
import { clock } from '../../state/clock.ts'

const HOUR = 3_600_000
const SPANS = { day: { hours: 24, step: 3 }, week: { hours: 168, step: 24 } }
/** So many next times are told at most. */
const KNOWN = 10
/** Lanes that are drawn at once; more are told as a number. */
const MOST = 12

const weekday = new Intl.DateTimeFormat('en', { weekday: 'short', day: 'numeric' })

export function Timeline({ jobs }: { jobs: JobRow[] }) {
  const [span, setSpan] = useState<'day' | 'week'>('day')
  const { hours, step } = SPANS[span]
  const from = clock.value
  const end = from + hours * HOUR
  const place = (at: number) => `${((at - from) / (end - from)) * 100}%`
  const within = (at: string) => Date.parse(at) >= from - HOUR / 60 && Date.parse(at) < end
  const lanes = jobs
    .map((job) => ({ job, times: job.next.filter(within) }))
    // No more than the next times are known of a job that runs often.
    .map((lane) => ({ ...lane, goesOn: lane.times.length === lane.job.next.length && lane.times.length >= KNOWN }))
    .filter(({ times }) => times.length > 0)
    .sort((a, b) => Date.parse(a.times[0]) - Date.parse(b.times[0]))
  const ticks = ticksOf(from, end, step)
  return (
    <Section
      title="Next runs"
      actions={
        <Segments
          label="How far"
          value={span}
          options={[
            { value: 'day', text: '24 h' },
            { value: 'week', text: '7 d' },
          ]}
          onValue={(value) => setSpan(value as 'day' | 'week')}
        />
      }
    >
      <div class="card timeline">
        <div class="lane axis" aria-hidden="true">
          <span class="lane-name" />
          <div class="lane-line">
            {ticks.map((at) => (
              <span key={at} class="tick" style={{ left: place(at) }}>
                {span === 'day' ? clockTime(at) : weekday.format(at)}
              </span>
            ))}
          </div>
        </div>
        {lanes.length === 0 && <p class="quiet">No job begins in this time.</p>}
        <ul>
          {lanes.slice(0, MOST).map(({ job, times, goesOn }) => (
            <li key={`${job.host}/${job.job}`} class="lane">
              <a class="lane-name" href={href('job', [job.host, job.job])} title={`${job.job} on ${job.host}`}>
                <span class="clip">{job.job}</span>
                <span class="quiet clip">{job.host}</span>
              </a>
              <div class="lane-line" role="img" aria-label={laneWords(times, goesOn)}>
                {ticks.map((at) => (
                  <i key={at} class="grid" style={{ left: place(at) }} />
                ))}
                {times.map((at) => (
                  <i
                    key={at}
                    class="run"
                    title={`${exactTime(at)}, ${relativeTime(at, from)}`}
                    style={{ left: place(Math.max(from, Date.parse(at))) }}
                  />
                ))}
                {goesOn && (
                  <i class="goes-on" title="It runs on like this" style={{ left: place(Date.parse(times.at(-1)!)) }} />
                )}
              </div>
            </li>
          ))}
        </ul>
        {lanes.length > MOST && <p class="quiet">and {lanes.length - MOST} more jobs, in the list below</p>}
      </div>
    </Section>
  )
}

const laneWords = (times: string[], goesOn: boolean) =>
  `begins ${times.slice(0, KNOWN).map(dayTime).join('; ')}${goesOn ? '; and so on' : ''}`

/** Whole hours or midnights in the browser's zone. */
function ticksOf(from: number, end: number, step: number): number[] {
  const first = new Date(from)
  first.setHours(0, 0, 0, 0)
  const ticks: number[] = []
  // By the calendar, as a day may have 23 or 25 hours.
  for (let hour = 0; ; hour += step) {
    const at = new Date(first)
    at.setHours(hour)
    if (at.getTime() >= end) return ticks
    if (at.getTime() > from) ticks.push(at.getTime())
  }
}
