/** What a host tells of a backup that runs. It is shown if it has the shape of progress; a host that lies must not break the page. */

import * as z from 'zod'
import type { NowRow } from '../house.ts'

const amount = z.number()
const orNull = amount.nullable()

const snapshot = z.object({
  ...{ elapsed: amount, total: orNull, done: amount, percent: orNull, read: amount, written: amount, zero: amount },
  ...{ archive: amount, readRate: amount, writeRate: amount, eta: orNull },
})

const stage = z.object({
  name: z.string().max(100),
  medium: z.string().max(100).nullable(),
  ...{ items: amount, bytesIn: amount, bytesOut: amount, working: amount, waitingForInput: amount },
  ...{ waitingForNext: amount, held: amount, mostHeld: amount },
})

const stats = z.object({
  elapsed: amount,
  ended: z.boolean(),
  stages: z.array(stage).max(100),
  bottleneck: z
    .object({
      stage: z.string().max(100),
      medium: z.string().max(100).nullable(),
      kind: z.enum(['source', 'processor', 'target', 'limit']),
      share: amount,
    })
    .nullable(),
})

const latency = z.object({ before: orNull, points: z.array(z.tuple([amount, amount])).max(5000) })

const phase = z.enum([
  ...['waiting', 'preparing', 'backup', 'verify', 'copy', 'boot', 'retry'],
  ...['done', 'failed', 'skipped', 'canceled'],
] as const) as z.ZodType<NowRow['phase']>

const progress = z.object({
  phase: phase.nullable().catch(null),
  snapshot: snapshot.nullable().catch(null),
  stats: stats.nullable().catch(null),
  latency: latency.nullable().catch(null),
  reason: z.string().max(4000).nullable().catch(null),
})
export type Progress = z.infer<typeof progress>

const NOTHING: Progress = { phase: null, snapshot: null, stats: null, latency: null, reason: null }

export function progressOf(told: Record<string, unknown> | null): Progress {
  return progress.safeParse(told ?? {}).data ?? NOTHING
}
