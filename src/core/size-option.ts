/** Sizes and rates as options of stages. They stand apart from size.ts, as commands that have no such options start without zod. */

import * as z from 'zod'
import { formatBytes, parseBytes } from './size.ts'

/** A size or a rate. It has no flags, as patterns in JSON Schema have none. */
const PATTERN = /^\d+(\.\d+)? ?[kKmMgGtTpP]?([iI]?[bB])?(\/[sS])?$/

interface ByteSizeOptions {
  /** The least number of bytes allowed; 0 by default. */
  min?: number
  /** The largest number of bytes allowed; no limit by default. */
  max?: number
  /** An example for the error message about a wrong size. */
  example?: string
}

/**
 * A size in an option: a number of bytes, or text such as `64MiB`; gives bytes.
 *
 *     const padding = defineStage({
 *       name: 'padding',
 *       summary: 'adds zeroes at the end',
 *       input: 'bytes',
 *       output: 'bytes',
 *       options: z.strictObject({ size: byteSize({ min: 1, max: 1 << 20, example: '4KiB' }) }),
 *       create: ({ size }) => ({
 *         transform: (chunk, push) => push(chunk),
 *         flush: (push) => push(new Chunk([Buffer.alloc(size)])),
 *       }),
 *     })
 *     console.log(padding({ size: '4KiB' }).definition.name)
 */
export function byteSize({ min = 0, max = Number.MAX_SAFE_INTEGER, example = '64MiB' }: ByteSizeOptions = {}) {
  const error = ({ input }: { input?: unknown }) => `expected a size such as ${example}, got ${shown(input)}`
  const text = z.string({ error }).regex(PATTERN, { error })
  const number = z.number({ error }).int({ error }).nonnegative({ error })
  return z.union([text, number], { error }).transform((value, context) => {
    const bytes = typeof value === 'number' ? value : parseBytes(value)
    if (bytes !== undefined && bytes >= min && bytes <= max) return bytes
    const limit = bytes !== undefined && bytes > max ? `at most ${formatBytes(max)}` : `at least ${formatBytes(min)}`
    const wanted = bytes === undefined ? `a size such as ${example}` : limit
    context.issues.push({ code: 'custom', input: value, message: `expected ${wanted}, got ${shown(value)}` })
    return z.NEVER
  })
}

/**
 * A rate in an option: bytes a second as a number, or text such as `100MB/s` or `50MiB`; at least one byte a second.
 *
 *     const options = z.strictObject({ rate: byteRate() })
 *     console.log(options.parse({ rate: '50MiB/s' }).rate, 'bytes a second')
 */
export function byteRate() {
  return byteSize({ min: 1, example: '100MB/s' })
}

function shown(value: unknown): string {
  return value === undefined ? 'nothing' : JSON.stringify(value)
}
