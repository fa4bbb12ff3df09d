/**
 * Listens to the server's events (SSE). If the connection is lost it is tried again after 1, 2, 4 … 30 seconds, and the page says
 * that it is not live. `EventSource` alone would give up for ever after some errors.
 */

import { signal } from '@preact/signals'
import type { ChangedEvent, NowEvent } from '../../api.ts'
import { nowView } from './data.ts'
import { changed, type Topic } from './resource.ts'

export type Live = 'connecting' | 'live' | 'lost'

export const live = signal<Live>('connecting')

/** Slow topics are asked for at most this often: their answers may be large. */
const PAUSE_MS = { guests: 3000, archives: 3000, jobs: 2000, hosts: 2000 } as const
const LONGEST_WAIT_MS = 30_000

let source: EventSource | null = null
let timer: ReturnType<typeof setTimeout> | undefined
let failures = 0
const due = new Set<Topic>()
const last = new Map<Topic, number>()

/** Called each time that the stream is lost: it may have ended with its session, and no browser tells why. */
let onLost = () => {}

export function whenLost(action: () => void): void {
  onLost = action
}

export function listen(): void {
  stopListening()
  restIfHidden()
  const made = new EventSource('/api/events')
  source = made
  made.onopen = () => {
    failures = 0
    // What happened meanwhile was not heard.
    if (live.peek() === 'lost') changed()
    live.value = 'live'
  }
  made.onerror = () => {
    made.close()
    if (source !== made) return
    live.value = 'lost'
    timer = setTimeout(listen, Math.min(LONGEST_WAIT_MS, 1000 * 2 ** failures++))
    onLost()
  }
  made.addEventListener('now', ({ data }) => heardNow(JSON.parse(data)))
  made.addEventListener('changed', ({ data }) => {
    for (const topic of (JSON.parse(data) as ChangedEvent).what) heard(topic)
  })
}

export function stopListening(): void {
  clearTimeout(timer)
  clearTimeout(resting)
  rests = false
  source?.close()
  source = null
}

/**
 * A browser has six connections to one server for all of its tabs. Each stream takes one, so a tab that nobody sees gives its own up: otherwise
 * the seventh tab would wait for ever.
 */
const HIDDEN_MS = 3000
let resting: ReturnType<typeof setTimeout> | undefined
let rests = false

function restIfHidden(): void {
  if (document.visibilityState === 'visible') return
  resting = setTimeout(() => {
    stopListening()
    rests = true
  }, HIDDEN_MS)
}

function heard(topic: keyof typeof PAUSE_MS): void {
  if (due.has(topic)) return
  due.add(topic)
  const wait = Math.max(0, (last.get(topic) ?? 0) + PAUSE_MS[topic] - Date.now())
  setTimeout(() => {
    due.delete(topic)
    last.set(topic, Date.now())
    changed(topic)
  }, wait)
}

/** Puts what has changed into what is known. */
function heardNow({ at, whole, order, rows, tasks, problems }: NowEvent): void {
  const was = nowView.data.peek()
  if (was === undefined && !whole) return void nowView.refresh()
  const known = new Map([...(whole ? [] : was!.rows), ...rows].map((row) => [row.id, row]))
  nowView.data.value = {
    at,
    rows: order.flatMap((id) => known.get(id) ?? []),
    tasks: tasks ?? was?.tasks ?? [],
    problems: problems ?? was?.problems ?? [],
  }
}

// A phone that wakes up should not wait for half a minute.
addEventListener('online', () => live.peek() === 'lost' && listen())
document.addEventListener('visibilitychange', () => {
  clearTimeout(resting)
  if (document.visibilityState !== 'visible') {
    if (source !== null) restIfHidden()
  } else if (rests || live.peek() === 'lost') listen()
})
