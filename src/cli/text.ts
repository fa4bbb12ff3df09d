/** Makes lines for people, and writes them to the two standard streams. Text from outside is made harmless first. */

import { styleText } from 'node:util'
import { bytesOf } from '../core/byte-text.ts'
import { printable } from '../core/errors.ts'
import { refuseIfClosed } from '../system/standard-streams.ts'

type TextFormat = Parameters<typeof styleText>[0]

/** Adds colour if the stream is a terminal that wants it (see NO_COLOR, --no-color and FORCE_COLOR). */
export function styled(format: TextFormat, text: string, stream: NodeJS.WriteStream = process.stdout): string {
  return styleText(format, text, { stream })
}

/** `stamp` is the time, if it is wanted. It comes behind the level, which is always the first word of a line. */
export function noteLine(level: 'info' | 'warning' | 'error', text: string, stamp?: string): string {
  const colour = { info: null, warning: 'yellow', error: 'red' } as const
  const format = colour[level]
  const word = `${level.toUpperCase()}:`
  const label = format === null ? word : styled(format, word, process.stderr)
  return [label, stamp, printable(text)].filter((part) => part !== undefined).join(' ')
}

/** Quotes arguments so that they can be pasted into a shell, whatever they contain. */
export function shellWords(words: readonly string[]): string {
  return words.map(shellWord).join(' ')
}

function shellWord(word: string): string {
  if (/^[\w./:@%+=-]+$/.test(word)) return word
  if (printable(word) === word) return `'${word.replaceAll("'", "'\\''")}'`
  // The form of bash, zsh and ksh: a byte that cannot be shown is written as its number.
  const escaped = word
    .replace(/[\\']/g, '\\$&')
    .replace(/[\p{Cc}\p{Cf}\p{Cs}\u2028\u2029]/gu, (c) =>
      [...bytesOf(c)].map((byte) => `\\x${byte.toString(16).padStart(2, '0')}`).join(''),
    )
  return `$'${escaped}'`
}

/** Writes the result of a command to standard output. Throws FAILED if it is closed. */
export function print(...lines: string[]): void {
  refuseIfClosed(1)
  tell(...lines)
}

/** Writes bytes to standard output without changing them. Throws FAILED if it is closed. */
export function printBytes(bytes: Uint8Array): void {
  refuseIfClosed(1)
  process.stdout.write(bytes)
}

/** Writes lines to standard output. For commands whose exit code says the same, so a closed stream is no error. */
export function tell(...lines: string[]): void {
  process.stdout.write(lines.map((line) => `${line}\n`).join(''))
}

/** "a, b and c" */
export function listing(words: readonly string[]): string {
  return words.length < 2 ? words.join('') : `${words.slice(0, -1).join(', ')} and ${words.at(-1)}`
}

/** "1 drive", "2 drives" */
export function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`
}

export { columns } from '../core/columns.ts'
export { formatDuration } from '../core/duration.ts'
