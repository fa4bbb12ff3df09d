/**
 * The runs of half a year, a square for each day, coloured by the worst of the day; a mark in the square says the same without colour.
 * Days are buttons: arrow keys move between them, Enter shows the runs of one.
 */

import { useLayoutEffect, useMemo, useRef, useState } from 'preact/hooks'
import type { RunDay } from '../../../house.ts'
import { count, dayKey, formatBytes, formatDuration, longDay, percent } from '../../format.ts'
import { Figure } from '../../parts/basics.tsx'
import { OUTCOMES } from './outcome.tsx'

const WEEKS = 26
const MARKS = { all: '', some: '!', none: '×' }

const monthName = new Intl.DateTimeFormat('en', { month: 'short' })
const dayName = new Intl.DateTimeFormat('en', { weekday: 'short' })

interface CalendarProps {
  days: readonly RunDay[]
  chosen: string | null
  choose: (day: string) => void
}

interface Day {
  key: string
  date: Date
  /** Undefined if nothing ran. */
  sum?: RunDay
}

export function Calendar({ days: sums, chosen, choose }: CalendarProps) {
  const today = dayKey(Date.now())
  const weeks = useMemo(() => weeksOf(sums), [sums, today])
  const [focused, setFocused] = useState(chosen ?? today)
  const frame = useRef<HTMLDivElement>(null)
  // On a phone the newest weeks are shown, not the oldest.
  useLayoutEffect(() => {
    frame.current!.scrollLeft = 9999
  }, [])
  const move = (event: KeyboardEvent) => {
    const days = { ArrowLeft: -7, ArrowRight: 7, ArrowUp: -1, ArrowDown: 1 }[event.key]
    if (days === undefined) return
    event.preventDefault()
    const date = new Date(`${focused}T12:00:00`)
    date.setDate(date.getDate() + days)
    const button = frame.current?.querySelector<HTMLElement>(`[data-day="${dayKey(date)}"]`)
    if (!button) return
    setFocused(dayKey(date))
    button.focus()
  }
  return (
    <div class="card calendar-frame">
      {/* biome-ignore lint/a11y/useSemanticElements: a fieldset would draw a frame */}
      <div class="calendar" role="group" aria-label="Runs by day" ref={frame} onKeyDown={move}>
        <div class="calendar-week names" aria-hidden="true">
          <span class="month" />
          {weeks[0].days.map(({ date }, index) => (
            <span key={date.getDay()}>{index % 2 === 0 ? dayName.format(date) : ''}</span>
          ))}
        </div>
        {weeks.map(({ month, days }) => (
          <div key={days[0].key} class="calendar-week">
            <span class="month" aria-hidden="true">
              {month}
            </span>
            {days.map((day) =>
              day.key > today ? (
                <span key={day.key} />
              ) : (
                <Square
                  key={day.key}
                  day={day}
                  focusable={day.key === focused}
                  chosen={day.key === chosen}
                  choose={() => {
                    setFocused(day.key)
                    choose(day.key)
                  }}
                />
              ),
            )}
          </div>
        ))}
      </div>
      <p class="legend" aria-hidden="true">
        <span class="day-key" /> no run
        <span class="day-key all" /> all guests
        <span class="day-key some">!</span> some
        <span class="day-key none">×</span> none
      </p>
      <Summary days={sums} />
    </div>
  )
}

/** What the squares are together. */
function Summary({ days }: { days: readonly RunDay[] }) {
  const sum = (what: 'runs' | 'whole' | 'done' | 'failed' | 'stored') => days.reduce((all, day) => all + day[what], 0)
  const runs = sum('runs')
  return (
    <dl class="figures">
      <Figure name="Runs" sub={`${percent(sum('whole') / runs)} with all guests`}>
        {runs.toLocaleString('en')}
      </Figure>
      <Figure name="Backups" sub={`${sum('failed').toLocaleString('en')} failed`}>
        {sum('done').toLocaleString('en')}
      </Figure>
      <Figure name="Stored">{formatBytes(sum('stored'))}</Figure>
      <Figure name="Longest run">{formatDuration(Math.max(...days.map(({ longest }) => longest)))}</Figure>
    </dl>
  )
}

interface SquareProps {
  day: Day
  focusable: boolean
  chosen: boolean
  choose: () => void
}

function Square({ day: { key, sum }, focusable, chosen, choose }: SquareProps) {
  const words = sum
    ? [
        count(sum.runs, 'run'),
        OUTCOMES[sum.worst].means,
        sum.failed > 0 && `${count(sum.failed, 'guest')} failed`,
        `${formatBytes(sum.stored)} stored`,
        `the longest took ${formatDuration(sum.longest)}`,
      ]
        .filter(Boolean)
        .join(', ')
    : 'no run'
  return (
    <button
      type="button"
      class={`day ${sum?.worst ?? ''}`}
      data-day={key}
      aria-label={`${longDay(`${key}T12:00:00`)}: ${words}`}
      title={`${longDay(`${key}T12:00:00`)}: ${words}`}
      aria-pressed={chosen}
      tabIndex={focusable ? 0 : -1}
      onClick={choose}
    >
      {sum && MARKS[sum.worst]}
    </button>
  )
}

/** Weeks begin on Monday. The first one of a month bears its name. */
function weeksOf(sums: readonly RunDay[]): { month: string; days: Day[] }[] {
  const byDay = new Map(sums.map((sum) => [sum.day, sum]))
  const date = new Date()
  date.setHours(12, 0, 0, 0)
  date.setDate(date.getDate() - ((date.getDay() + 6) % 7) - (WEEKS - 1) * 7)
  let last = -1
  return Array.from({ length: WEEKS }, () => {
    const days = Array.from({ length: 7 }, () => {
      const key = dayKey(date)
      const day = { key, date: new Date(date), sum: byDay.get(key) }
      date.setDate(date.getDate() + 1)
      return day
    })
    const month = days[0].date.getMonth()
    const named = month !== last
    last = month
    return { month: named ? monthName.format(days[0].date) : '', days }
  })
}
