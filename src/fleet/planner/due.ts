/**
 * Which guests are due. Each host reports the next times of its jobs, and when one has come there is a work for each guest of the job. Of
 * times that were missed only the latest counts, as with systemd's Persistent. What the host has done for that time by itself is not done again.
 */

import { LIMBO_MS } from './owners.ts'
import type { WorkPlace } from './types.ts'
import { workId } from './work-id.ts'

/** A job of a host. */
export interface DueJob {
  name: string
  /** The next times as the host reads its schedule, in milliseconds since 1970. */
  next: readonly number[]
  window: string | null
  places: readonly WorkPlace[]
  guests: readonly string[]
}

export interface DueWork {
  id: string
  host: string
  job: string
  guest: string
  due: number
  window: string | null
  places: readonly WorkPlace[]
  /** The id of the work of the time before. If it still waits, this one takes its place. */
  replaces: string | null
}

interface HostJob extends DueJob {
  host: string
  /** Times that have not come yet, in their order. */
  next: number[]
  /** The latest time that has come. */
  last: number | null
  /** The latest time that had come when each guest came into the job: no clock of a host decides whether a guest was in it. */
  since: Map<string, number>
}

export interface DuesOptions {
  /** The host that a guest belongs to. Only that host's jobs back it up. */
  ownerOf: (guest: string) => string | null
}

export class Dues {
  readonly #ownerOf: DuesOptions['ownerOf']
  readonly #hosts = new Map<string, Map<string, HostJob>>()
  /** Of each guest of each job the newest time that there was a work for, or a run of the host's own. */
  readonly #newest = new Map<string, number>()
  /** Guests that have come to a host, whose last time may not have been kept. */
  #arrived: { host: string; guest: string; isKnown: boolean }[] = []
  #nextAt = Infinity

  constructor({ ownerOf }: DuesOptions) {
    this.#ownerOf = ownerOf
  }

  /** All jobs of a host, as it said at its own time `at`. The guests' owners are told before. */
  setHost(host: string, jobs: readonly DueJob[], at: number): void {
    const before = this.#hosts.get(host)
    const all = new Map<string, HostJob>()
    for (const job of jobs) {
      const old = before?.get(job.name)
      // Times that have passed on the host's clock, which may be ahead, are no longer in its list, and have not come here.
      const passed = old?.next.filter((time) => time <= at) ?? []
      const next = [...new Set([...passed, ...job.next])].sort((a, b) => a - b)
      const since = new Map(job.guests.map((guest) => [guest, old?.since.get(guest) ?? old?.last ?? -Infinity]))
      all.set(job.name, { ...job, host, next, last: old?.last ?? null, since })
      for (const guest of job.guests)
        if (before !== undefined && !old?.since.has(guest)) this.#arrived.push({ host, guest, isKnown: false })
    }
    this.#hosts.set(host, all)
    this.#findNext()
  }

  removeHost(host: string): void {
    this.#hosts.delete(host)
    this.#findNext()
  }

  /** There was a work for this time, or the host has begun it by itself. It says so also of what was known before this planner started. */
  done(job: string, guest: string, due: number): void {
    const key = keyOf(job, guest)
    this.#newest.set(key, Math.max(due, this.#newest.get(key) ?? due))
  }

  /** A guest has moved to this host. If it was on its way when it was due, its work is made now. */
  arrived(host: string, guest: string): void {
    this.#arrived.push({ host, guest, isKnown: true })
  }

  /**
   * The times of a host's job that have not come here yet, in their order. They are kept for the planner after this one: a host whose
   * clock is ahead no longer names a time that has passed there.
   */
  nextOf(host: string, job: string): readonly number[] {
    return this.#hosts.get(host)?.get(job)?.next ?? []
  }

  /** When there is something to take next; null if nothing is known to be due. */
  get nextAt(): number | null {
    if (this.#arrived.length > 0) return -Infinity
    return this.#nextAt === Infinity ? null : this.#nextAt
  }

  /** Works that are to be made now. From here on they count as made. */
  take(now: number): DueWork[] {
    const works: DueWork[] = []
    if (this.#nextAt <= now) {
      for (const jobs of this.#hosts.values())
        for (const job of jobs.values())
          if (job.next.length > 0 && job.next[0] <= now) works.push(...this.#come(job, now))
      this.#findNext()
    }
    for (const { host, guest, isKnown } of this.#arrived.splice(0))
      for (const job of this.#hosts.get(host)?.values() ?? []) {
        const isLate = job.last !== null && now - job.last <= LIMBO_MS && job.since.has(guest)
        if (isLate) works.push(...this.#make(job, guest, job.last!, now, isKnown))
      }
    return works
  }

  /** How a host's job backs a guest up; null if it does not. */
  on(host: string, job: string, guest: string): { window: string | null; places: readonly WorkPlace[] } | null {
    const found = this.#hosts.get(host)?.get(job)
    return found?.since.has(guest) ? { window: found.window, places: found.places } : null
  }

  #come(job: HostJob, now: number): DueWork[] {
    const later = job.next.findIndex((time) => time > now)
    const come = job.next.splice(0, later === -1 ? job.next.length : later)
    job.last = come.at(-1)!
    return job.guests.flatMap((guest) => this.#make(job, guest, job.last!, now))
  }

  #make(
    { host, name: job, window, places, since }: HostJob,
    guest: string,
    due: number,
    now: number,
    isKnown = false,
  ): DueWork[] {
    if (this.#ownerOf(guest) !== host) return []
    const newest = this.#newest.get(keyOf(job, guest))
    if (newest !== undefined && newest >= due) return []
    // A guest that is new in the job waits for the job's next time. One that was in it before, on another host, was only on its way.
    const isNew = due <= since.get(guest)! && ((newest === undefined && !isKnown) || now - due > LIMBO_MS)
    if (isNew) return []
    this.done(job, guest, due)
    const replaces = newest === undefined ? null : workId(job, guest, newest)
    return [{ id: workId(job, guest, due), host, job, guest, due, window, places, replaces }]
  }

  #findNext(): void {
    this.#nextAt = Infinity
    for (const jobs of this.#hosts.values())
      for (const { next } of jobs.values()) if (next.length > 0 && next[0] < this.#nextAt) this.#nextAt = next[0]
  }
}

function keyOf(job: string, guest: string): string {
  return `${job}\0${guest}`
}
