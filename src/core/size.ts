/**
 * Parses and formats sizes and rates. The suffixes are those of GNU coreutils: `K`, `M`, `G`, `T` and `KiB`, `MiB`, `GiB`,
 * `TiB` are powers of 1024; `KB`, `MB`, `GB`, `TB` are powers of 1000; no suffix, or `B`, is bytes. Case does not matter,
 * fractions are allowed (`1.5G`), and a rate may end in `/s`.
 */

import * as z from 'zod'

const POWERS = ['', 'k', 'm', 'g', 't', 'p']
const FORM = /^(\d+(?:\.\d+)?) ?([kmgtp]?)(i?b)?(\/s)?$/i

/** The same as FORM but without flags: patterns in JSON Schema have none. */
const PATTERN = /^\d+(\.\d+)? ?[kKmMgGtTpP]?([iI]?[bB])?(\/[sS])?$/

/** The number of bytes, or undefined if `text` is not a size. A fraction of a byte is dropped. */
export function parseBytes(text: string): number | undefined {
  const match = FORM.exec(text.trim())
  if (match === null) return undefined
  const [, number, prefix, unit = ''] = match
  const power = POWERS.indexOf(prefix.toLowerCase())
  if (unit.length === 2 && power === 0) return undefined // "iB" alone
  const base = prefix !== '' && unit.toLowerCase() === 'b' ? 1000 : 1024
  const bytes = Math.floor(Number(number) * base ** power)
  return Number.isSafeInteger(bytes) ? bytes : undefined
}

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

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB']

/** A size for people, in powers of 1024: "0 B", "512 B", "1.5 GiB", "64.0 MiB". */
export function formatBytes(bytes: number): string {
  let unit = 0
  let value = bytes
  while (unit < UNITS.length - 1 && value >= 1023.95) {
    value /= 1024
    unit++
  }
  return `${unit === 0 ? Math.round(value) : value.toFixed(1)} ${UNITS[unit]}`
}

/** "410.2 MiB/s" */
export function formatRate(bytesPerSecond: number): string {
  return `${formatBytes(bytesPerSecond)}/s`
}
