/**
 * Parses and formats sizes and rates. The suffixes are those of GNU coreutils: `K`, `M`, `G`, `T` and `KiB`, `MiB`, `GiB`,
 * `TiB` are powers of 1024; `KB`, `MB`, `GB`, `TB` are powers of 1000; no suffix, or `B`, is bytes. Case does not matter,
 * fractions are allowed (`1.5G`), and a rate may end in `/s`.
 */

const POWERS = ['', 'k', 'm', 'g', 't', 'p']
const FORM = /^(\d+(?:\.\d+)?) ?([kmgtp]?)(i?b)?(\/s)?$/i

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
