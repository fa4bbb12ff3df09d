/** The file NAME.checks: results of checks as JSON. It may have been written by anybody who can write at the place. */

import * as z from 'zod'
import type { Check } from './entry.ts'

/** The most checks that are read, and characters of one text. */
const MOST_CHECKS = 100
const LONGEST_TEXT = 2000
const LONGEST_WORK = 100

const check = z.object({
  kind: z.enum(['verify', 'sample', 'boot']),
  at: z.iso.datetime({ offset: true }),
  passed: z.boolean(),
  detail: z.string().max(LONGEST_TEXT).optional(),
  file: z
    .string()
    .max(255)
    .regex(/^[^/\0]+$/)
    .optional(),
  work: z.string().max(LONGEST_WORK).optional(),
})

const file = z.object({ version: z.literal(1), checks: z.array(z.unknown()).max(MOST_CHECKS) })

/** The checks that have a form that we know. A file of another form has none. */
export function parseChecks(text: string): Check[] {
  let content: unknown
  try {
    content = JSON.parse(text)
  } catch {
    return []
  }
  const parsed = file.safeParse(content)
  if (!parsed.success) return []
  return parsed.data.checks.flatMap((one) => {
    const { data } = check.safeParse(one)
    return data === undefined ? [] : [data as Check]
  })
}

export function formatChecks(checks: readonly Check[]): string {
  const clipped = checks.map(({ detail, ...rest }) => ({
    ...rest,
    ...(detail && { detail: detail.slice(0, LONGEST_TEXT) }),
  }))
  return `${JSON.stringify({ version: 1, checks: clipped }, null, 2)}\n`
}
