/** What a planner should do, as simply as it can be said: it looks at every waiting work each time, in their order. */

import { byNeed } from '../../../src/fleet/planner/lane.ts'
import { neededLimits, usedKeys } from '../../../src/fleet/planner/limit-keys.ts'
import type { InUse, PlannedHost, PlannedWork } from '../../../src/fleet/planner/types.ts'
import { Windows } from '../../../src/fleet/planner/windows.ts'

export class ModelPlanner {
  readonly hosts = new Map<string, PlannedHost>()
  readonly waiting = new Map<string, PlannedWork>()
  readonly inUse = new Map<string, InUse>()
  readonly #storages: ReadonlyMap<string, number>
  readonly #windows = new Windows()

  constructor(storages: ReadonlyMap<string, number>) {
    this.#storages = storages
  }

  setHost(host: PlannedHost): void {
    this.hosts.set(host.host, host)
  }

  removeHost(host: string): void {
    this.hosts.delete(host)
  }

  add(work: PlannedWork): void {
    if (!this.inUse.has(work.id)) this.waiting.set(work.id, work)
  }

  remove(id: string): void {
    this.waiting.delete(id)
  }

  use(id: string, inUse: InUse): void {
    this.waiting.delete(id)
    this.inUse.set(id, inUse)
  }

  free(id: string): void {
    this.inUse.delete(id)
  }

  next(now: number): PlannedWork[] {
    const begun: PlannedWork[] = []
    for (const work of [...this.waiting.values()].sort(byNeed)) {
      if (!this.mayBegin(work, now)) continue
      this.use(work.id, work)
      begun.push(work)
    }
    return begun
  }

  mayBegin(work: PlannedWork, now: number): boolean {
    const host = this.hosts.get(work.host)
    if (host === undefined || !host.isUp || host.isDrained || work.notBefore > now) return false
    if (this.#windows.opens(work.window, host.zone, now) !== null) return false
    const uses = [...this.inUse.values()]
    if (uses.some(({ guest }) => guest === work.guest)) return false
    const used = (key: string) => uses.filter((one) => usedKeys(one).includes(key)).length
    return neededLimits(work, host, this.#storages).every(({ key, most }) => used(key) < most)
  }
}
