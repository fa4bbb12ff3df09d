/** What must hold at every step of the simulation. It counts by itself what runs in truth, and uses nothing of the planner. */

import type { WorkPlace } from '../../../src/fleet/planner/types.ts'

export interface Run {
  id: string
  host: string
  guest: string
  places: readonly WorkPlace[]
  /** Told by a heartbeat, or begun by the planner. */
  isKnown: boolean
}

export class Checks {
  /** What was found wrong; the first ones. */
  readonly violations: string[] = []
  readonly running = new Set<Run>()
  readonly #ofGuest = new Map<string, Run>()
  readonly #byKey = new Map<string, Set<Run>>()
  readonly #limits: ReadonlyMap<string, number>

  /** `limits`: by `storage NAME` and `host NAME`. */
  constructor(limits: ReadonlyMap<string, number>) {
    this.#limits = limits
  }

  wrong(text: string): void {
    if (this.violations.length < 20) this.violations.push(text)
  }

  begin(run: Run): void {
    const other = this.#ofGuest.get(run.guest)
    if (other !== undefined)
      this.wrong(
        `guest ${run.guest} is backed up twice at once: ${other.id} on ${other.host}, ${run.id} on ${run.host}`,
      )
    this.running.add(run)
    this.#ofGuest.set(run.guest, run)
    for (const key of keysOf(run)) {
      const runs = this.#byKey.get(key) ?? new Set()
      this.#byKey.set(key, runs.add(run))
    }
  }

  end(run: Run): void {
    this.running.delete(run)
    if (this.#ofGuest.get(run.guest) === run) this.#ofGuest.delete(run.guest)
    for (const key of keysOf(run)) this.#byKey.get(key)!.delete(run)
  }

  count(key: string): number {
    return this.#byKey.get(key)?.size ?? 0
  }

  isFull(key: string): boolean {
    return this.count(key) >= (this.#limits.get(key) ?? Infinity)
  }

  /** All that runs is within the limits. It holds if hosts are never cut off and the planner is never away. */
  within(what: string): void {
    for (const [key, most] of this.#limits)
      if (this.count(key) > most) this.wrong(`${what}: ${key} has ${this.count(key)} of ${most} in use`)
  }

  /** A work is given although a limit is used up by runs that the planner knows of. */
  given(
    id: string,
    host: string,
    places: readonly WorkPlace[],
    isCounted: (host: string) => boolean,
    sent: Iterable<Run>,
  ): void {
    for (const key of keysOf({ host, places })) {
      const most = this.#limits.get(key)
      if (most === undefined) continue
      const known = [...(this.#byKey.get(key) ?? [])].filter(
        (run) => run.id !== id && run.isKnown && isCounted(run.host),
      )
      const ids = new Set(known.map((run) => run.id))
      for (const run of sent) if (run.id !== id && keysOf(run).includes(key)) ids.add(run.id)
      if (ids.size >= most) this.wrong(`${id} was given to ${host} although ${key} had ${ids.size} of ${most} in use`)
    }
  }
}

export function keysOf({ host, places }: Pick<Run, 'host' | 'places'>): string[] {
  const storages = places.flatMap(({ storage }) => (storage === null ? [] : [`storage ${storage}`]))
  return [`host ${host}`, ...new Set(storages)]
}
