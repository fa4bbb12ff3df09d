/** Makes works of the times that jobs are due, as their hosts read their schedules. */

import type { Parts } from './parts.ts'
import type { HostState } from './state.ts'
import type { WorkDesk } from './work-desk.ts'
import { placesOf } from './work-message.ts'

export class Due {
  readonly #parts: Parts
  readonly #desk: WorkDesk

  constructor(parts: Parts, desk: WorkDesk) {
    this.#parts = parts
    this.#desk = desk
  }

  /** Takes the jobs of a host's inventory. Whom its guests belong to is known by then. */
  take(host: HostState): void {
    if (host.inventory === null) return
    const jobs = [...host.jobs.values()].map(({ name, next, window, places, guests, problem }) => ({
      ...{ name, window, guests, places: placesOf(places) },
      // It would fail. Its problem is shown.
      next: problem === null ? next.map((time) => Date.parse(time)) : [],
    }))
    this.#parts.state.dues.setHost(host.name, jobs, Date.parse(host.inventory.at))
    this.#keepTimes(host)
  }

  /** What is written of the host also has times that have passed on its clock and not on ours. */
  #keepTimes(host: HostState): void {
    const { dues } = this.#parts.state
    let hasMore = false
    const jobs = host.inventory!.jobs.map((job) => {
      const next = dues.nextOf(host.name, job.name)
      if (job.problem !== null || next.length <= job.next.length) return job
      hasMore = true
      return { ...job, next: next.map((time) => new Date(time).toISOString()) }
    })
    if (hasMore) host.take({ ...host.inventory!, jobs })
  }

  look(): void {
    const { state, clock, caps } = this.#parts
    for (const work of state.dues.take(clock.now())) {
      const host = state.hosts.get(work.host)
      if (host === undefined || state.works.has(work.id) || !caps.mayRun(host)) continue
      const before = work.replaces === null ? undefined : state.works.get(work.replaces)
      if (before !== undefined && before.state !== 'running') this.#desk.end(before, 'canceled', 'its job is due again')
      this.#desk.due(host, work)
    }
  }
}
