/** Works that people ask for: backups now, archives to verify, places to prune. The same is not asked for twice. */

import { printable, VmapipeError } from '../../core/errors.ts'
import type { PeopleSide } from '../fleet.ts'
import { awayError } from '../store/away.ts'
import { MOST } from './caps.ts'
import type { Parts } from './parts.ts'
import type { HostState, OpenWork } from './state.ts'
import type { WorkDesk } from './work-desk.ts'

export class Asked implements Pick<PeopleSide, 'start' | 'verify' | 'prune'> {
  readonly #parts: Parts
  readonly #desk: WorkDesk
  readonly #onDuty: () => void

  constructor(parts: Parts, desk: WorkDesk, onDuty: () => void) {
    this.#parts = parts
    this.#desk = desk
    this.#onDuty = onDuty
  }

  async start({ host: only, job, guests, full }: Parameters<PeopleSide['start']>[0]): Promise<string[]> {
    this.#there()
    const { state, clock } = this.#parts
    const hosts = [...(only === undefined ? state.hosts.values() : [this.#host(only)])].filter((host) =>
      host.jobs.has(job),
    )
    if (hosts.length === 0)
      throw new VmapipeError('USAGE', `${only === undefined ? 'no host' : only} has a job '${printable(job)}'`)
    const now = clock.now()
    const works: OpenWork[] = []
    const made = new Set<OpenWork>()
    const wanted = guests === undefined ? null : new Set(guests)
    for (const host of hosts) {
      // Of a host whose clock is behind the time is its own, as no archive is of its future.
      const due = Math.floor((now - host.behind) / 1000) * 1000
      const { problem, guests: all } = host.jobs.get(job)!
      if (problem !== null) throw new VmapipeError('USAGE', `the job ${job} of ${host.name} cannot be run: ${problem}`)
      for (const guest of all)
        if ((wanted === null || wanted.has(guest)) && state.guests.get(guest)?.host === host.name) {
          const work = this.#desk.backUp(host, job, guest, due, { full, now: true })
          works.push(work)
          if (work.attempt === 0 && work.due.getTime() === due) made.add(work)
        }
    }
    for (const { guest } of works) wanted?.delete(guest!)
    const [missing] = wanted ?? []
    if (missing !== undefined) {
      for (const work of made)
        if (work.state === 'waiting') this.#desk.end(work, 'canceled', 'not all guests are there')
      throw new VmapipeError('USAGE', `the job ${job} has no guest '${printable(missing)}'`)
    }
    await this.#durable([...made])
    void this.#desk.admit()
    return works.map(({ id }) => id)
  }

  async verify({ host: name, job, archive, boot }: Parameters<PeopleSide['verify']>[0]): Promise<string> {
    const host = this.#withJob(name, job)
    const isSame = ({ kind, asked, ...work }: OpenWork) =>
      kind === 'verify' && work.job === job && asked.archive === archive && (asked.boot ?? false) === (boot ?? false)
    return await this.#once(host, isSame, () =>
      this.#desk.ask('verify', host, { job, asked: { archive, ...(boot === undefined ? {} : { boot }) } }),
    )
  }

  async prune({ host: name, job, guest: only }: Parameters<PeopleSide['prune']>[0]): Promise<string> {
    const guest = only ?? null
    const host = this.#withJob(name, job)
    const isSame = (work: OpenWork) => work.kind === 'prune' && work.job === job && work.guest === guest
    return await this.#once(host, isSame, () => this.#desk.ask('prune', host, { job, guest }))
  }

  /** The work that is open already, or a new one. */
  async #once(host: HostState, isSame: (work: OpenWork) => boolean, ask: () => OpenWork): Promise<string> {
    const others = this.#parts.state.worksOfHost(host.name).filter(({ kind }) => kind !== 'run')
    const open = others.find(isSame)
    if (open !== undefined) {
      await this.#parts.ledger.flush()
      return open.id
    }
    if (others.length >= MOST.asked)
      throw new VmapipeError('USAGE', `${host.name} has ${MOST.asked} works that were asked for and have not ended`, {
        hint: 'try again when some of them are done, or cancel them',
      })
    const work = ask()
    await this.#durable([work])
    return work.id
  }

  /** What could not be made durable is not begun later: whoever asked was told that it failed. */
  async #durable(works: readonly OpenWork[]): Promise<void> {
    try {
      await this.#parts.ledger.flush()
    } catch (error) {
      for (const work of works)
        if (this.#parts.state.works.has(work.id)) this.#desk.end(work, 'canceled', 'the database was away')
      throw error
    }
  }

  #there(): void {
    this.#onDuty()
    if (this.#parts.database.isAway) throw awayError()
  }

  #withJob(name: string, job: string): HostState {
    this.#there()
    const host = this.#host(name)
    if (!host.jobs.has(job)) throw new VmapipeError('USAGE', `the host ${name} has no job '${printable(job)}'`)
    return host
  }

  #host(name: string): HostState {
    const host = this.#parts.state.hosts.get(name)
    if (host === undefined) throw new VmapipeError('USAGE', `there is no host '${printable(name)}'`)
    return host
  }
}
