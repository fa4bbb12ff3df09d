/** What a host reports of a guest's backup, as far as it has the shape of a report. */

import * as z from 'zod'
import type { WorkRow } from '../../fleet/fleet.ts'
import type { GuestReport } from '../../jobs/report.ts'

const line = z.string().max(4000)

const told = z
  .object({
    reason: line,
    hint: line,
    kind: z.enum(['full', 'incremental']),
    places: z.array(line).max(50),
    ...{ seconds: z.number(), read: z.number(), stored: z.number(), longestWait: z.number() },
    ...{ verified: z.boolean(), booted: z.boolean() },
    warnings: z.array(line).max(1000),
  })
  .partial()

export function guestReport({ guest, state, attempt, reason, report }: WorkRow): GuestReport {
  const outcome = state === 'done' || state === 'canceled' ? state : 'failed'
  return {
    attempts: attempt,
    places: [],
    warnings: [],
    ...(reason !== null && { reason }),
    ...told.safeParse(report ?? {}).data,
    guest: guest ?? '',
    outcome,
  }
}
