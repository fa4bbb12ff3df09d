/**
 * What a request for a backup contains. In its query:
 *
 *   drive=NAME       only this one; any number of times
 *   buffer=SIZE      old data that may wait in memory
 *   max-stall=MS     how long a guest's request may wait for the backup
 *   max-hang=MS      how long the reader of the archive may take nothing
 *   bwlimit=RATE     what is scanned a second
 *   uuid=UUID        of the archive
 *   since=UUID       of the parent: leaves out what is known not to have changed since. Only for `vmapipe backup --attach`, which knows
 *                    the parent; the status says what of each drive is read
 *   whole=NAME       with since: leaves out nothing of this drive; any number of times
 *   checksums=no     an archive with neither checksums nor an index
 *
 * and in its body, if it has one, JSON: {"configs": {"NAME": "base64 of the content"}}.
 */

import { LEAST_BUDGET } from '../../core/budget.ts'
import { VmapipeError } from '../../core/errors.ts'
import { byteRate, byteSize } from '../../core/size-option.ts'
import { z } from '../../core/stage.ts'
import type { BackupRequest } from './controlled-service.ts'

/** A little more than what fits into an archive's header, as base64. */
const MAX_BODY = 1 << 20

/** Up to an hour. */
const milliseconds = z.coerce.number().int().min(100).max(3_600_000).optional()

const query = z.strictObject({
  drive: z.array(z.string()).optional(),
  buffer: byteSize({ min: LEAST_BUDGET }).optional(),
  'max-stall': milliseconds,
  'max-hang': milliseconds,
  bwlimit: byteRate().optional(),
  uuid: z.uuid().optional(),
  since: z.guid().optional(),
  whole: z.array(z.string()).optional(),
  checksums: z
    .enum(['yes', 'no'])
    .transform((word) => word === 'yes')
    .optional(),
})

const body = z.strictObject({ configs: z.record(z.string().min(1), z.base64()).default({}) })

/** `parts` of the body as they come. Throws USAGE for what makes no sense. */
export async function readRequest(url: string, parts: AsyncIterable<Buffer>): Promise<BackupRequest> {
  const { searchParams } = new URL(url, 'http://control')
  const given: Record<string, unknown> = Object.fromEntries(searchParams)
  for (const key of ['drive', 'whole']) if (searchParams.has(key)) given[key] = searchParams.getAll(key)
  const { drive, 'max-stall': maxStall, 'max-hang': maxHang, ...rest } = checked(query, given, 'the query')
  const { configs } = checked(body, await parsed(parts), 'the body')
  const decoded = Object.entries(configs).map(([name, data]) => [name, new Uint8Array(Buffer.from(data, 'base64'))])
  const some = Object.entries({ ...rest, drives: drive, maxStall, maxHang }).filter(([, value]) => value !== undefined)
  return { ...Object.fromEntries(some), configs: Object.fromEntries(decoded) }
}

function checked<Schema extends z.ZodType>(schema: Schema, value: unknown, where: string): z.output<Schema> {
  const result = schema.safeParse(value)
  if (result.success) return result.data
  const [issue] = result.error.issues
  const path = issue.path.join('.')
  throw new VmapipeError('USAGE', `${where}${path && `, ${path}`}: ${issue.message}`)
}

async function parsed(parts: AsyncIterable<Buffer>): Promise<unknown> {
  const all: Buffer[] = []
  let length = 0
  for await (const part of parts) {
    length += part.length
    if (length > MAX_BODY) throw new VmapipeError('USAGE', `the body is larger than ${MAX_BODY} bytes`)
    all.push(part)
  }
  if (length === 0) return {}
  try {
    return JSON.parse(Buffer.concat(all).toString())
  } catch (error) {
    throw new VmapipeError('USAGE', 'the body is no JSON', { cause: error })
  }
}
