/** What the hosts of the benchmark tell: sizes and shapes are those of real ones. */

import type { AgentArchive } from '../../src/fleet/messages/events.ts'
import type { Inventory } from '../../src/fleet/messages/inventory.ts'

export const JOB = 'nightly'
/** Archives that are kept of each guest. */
export const KEPT = 14
const GiB = 2 ** 30
const DAY_MS = 86_400_000

export interface MadeUpGuest {
  name: string
  identity: string
}

interface About {
  host: string
  storage: string
  guests: MadeUpGuest[]
}

export function madeUpInventory({ host, storage, guests }: About, next: string[]): Inventory {
  const names = guests.map(({ name }) => name)
  const lastNight = Date.now() - DAY_MS
  return {
    at: new Date().toISOString(),
    guests: guests.map(({ name, identity }, index) => ({
      ...{ name, identity, source: `libvirt::${name}`, running: index % 20 > 0, jobs: [JOB] },
      lastGood: new Date(lastNight + index * 600_000).toISOString(),
      ...{ size: 40 * GiB, seconds: 300, stored: 2 * GiB },
    })),
    jobs: [
      {
        ...{ name: JOB, central: false, description: `all guests of ${host}`, schedule: ['22:00'], next },
        ...{ window: null, guests: names, promise: 2 * 86_400, problem: null },
        places: [{ place: `/srv/${storage}`, storage, parallel: null, keep: { daily: KEPT } }],
      },
    ],
    warnings: [],
  }
}

export function madeUpReport(guest: string, seconds: number): Record<string, unknown> {
  return {
    ...{ guest, outcome: 'done', attempts: 1, kind: 'incremental', places: ['/srv/nas'], seconds, read: 3 * GiB },
    ...{ stored: 2 * GiB, longestWait: 0.02, verified: true, warnings: [] },
  }
}

export function madeUpArchives({ storage }: Pick<About, 'storage'>, guest: string): AgentArchive[] {
  return Array.from({ length: KEPT }, (_, night) => {
    const ctime = Math.floor(Date.now() / 1000) - (KEPT - 1 - night) * 86_400
    const name = `${guest}-${new Date(ctime * 1000).toISOString().slice(0, 19)}.vma.zst`
    return {
      ...{ place: `/srv/${storage}/${guest}/${name}`, name, guest, uuid: `${guest}-${night}`, ctime },
      kind: night === 0 ? 'full' : 'incremental',
      parent: night === 0 ? null : `${guest}-${night - 1}`,
      ...{ size: 2 * GiB, encrypted: true, protected: false, notes: null },
      checks: [{ kind: 'verify', at: new Date(ctime * 1000).toISOString(), passed: true, detail: null }],
    }
  })
}

/** Of a backup that has run for so long. */
export function madeUpProgress(elapsed: number): Record<string, unknown> {
  const done = elapsed * 100e6
  return {
    phase: 'backup',
    snapshot: {
      ...{ elapsed, total: 40 * GiB, done, percent: (done / (40 * GiB)) * 100, read: done, written: done / 2, zero: 0 },
      ...{ archive: done / 2, readRate: 100e6, writeRate: 50e6, eta: 300 },
    },
    stats: {
      ...{ elapsed, ended: false },
      stages: ['read', 'compress', 'encrypt', 'write'].map((name) => ({
        ...{ name, medium: null, items: elapsed * 100, bytesIn: done, bytesOut: done, working: elapsed * 0.4 },
        ...{ waitingForInput: elapsed * 0.3, waitingForNext: elapsed * 0.3, held: 2, mostHeld: 8 },
      })),
      bottleneck: { stage: 'write', medium: null, kind: 'target', share: 0.7 },
    },
    latency: { before: 0.4, points: Array.from({ length: 60 }, (_, at) => [at, 0.4 + Math.random()]) },
    reason: null,
  }
}
