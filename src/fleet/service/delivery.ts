/** Gives hosts what is in their queues for them. */

import type { Parts } from './parts.ts'
import type { HostState, OpenWork } from './state.ts'
import type { WorkDesk } from './work-desk.ts'

/** A work that should have been in the queue and was not is sent again after this. */
const RESEND_MS = 5_000
/** Works that one poll takes at most. */
const MOST_AT_ONCE = 100

export class Delivery {
  readonly #parts: Parts
  readonly #desk: WorkDesk

  constructor(parts: Parts, desk: WorkDesk) {
    this.#parts = parts
    this.#desk = desk
  }

  /** Gives a host what is in its queue for it. What it returns is durable. */
  async fetch(host: HostState, free: number): Promise<OpenWork[]> {
    const { turn, queues, state, clock, ledger, changes } = this.#parts
    const wanted = [...host.sent].flatMap((id) => state.works.get(id) ?? [])
    const most = Math.min(
      MOST_AT_ONCE,
      free === 0 ? MOST_AT_ONCE : free + wanted.filter(({ kind }) => kind !== 'run').length,
    )
    const now = clock.now()
    const fetched = await turn.transaction(async (session) => {
      const ids = await queues.fetch(session, host.name, most, free === 0)
      const works = ids.flatMap((id) => state.works.get(id) ?? [])
      for (const work of works)
        await session.query(
          `update vmapipe.works set state = 'running', attempt = $2, began = $3, incarnation = $4 where id = $1`,
          [work.id, work.attempt + 1, new Date(now).toISOString(), host.stored.incarnation],
        )
      return ids
    })
    const given: OpenWork[] = []
    for (const id of fetched) {
      const work = state.works.get(id)
      // It was canceled, or went elsewhere, in this very moment; or it is of an earlier planner.
      if (work === undefined || work.state !== 'sent' || work.host !== host.name) {
        ledger.write((session) => queues.remove(session, host.name, id))
        if (work !== undefined) ledger.work(work)
        host.sent.delete(id)
        continue
      }
      host.sent.delete(id)
      work.state = 'running'
      work.attempt += 1
      work.began = new Date(now)
      work.incarnation = host.stored.incarnation
      work.given = now
      work.isNamed = false
      work.reason = null
      given.push(work)
    }
    if (given.length > 0) changes.tell('now', 'hosts')
    if (fetched.length < most) this.#repair(host, wanted, free)
    return given
  }

  /** Sends works again that the queue should have had: nobody knows what became of a transaction whose connection broke. */
  #repair(host: HostState, wanted: OpenWork[], free: number): void {
    for (const work of wanted)
      if (host.sent.has(work.id) && work.state === 'sent' && (free > 0 || work.kind !== 'run'))
        this.#desk.unsend(work, this.#parts.clock.now() + RESEND_MS)
  }
}
