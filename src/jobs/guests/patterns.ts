/** Patterns of names, as shells have them: `*`, `?` and `[a-z]`. */

import { matchesGlob } from 'node:path'

/** Whether one of the patterns is for this name. A slash in a name is a character like any other. */
export function matchesAny(name: string, patterns: readonly string[]): boolean {
  const flat = (text: string) => text.replaceAll('/', '\u2215').replace(/^\./, '\u2024')
  return patterns.some((pattern) => pattern === name || matchesGlob(flat(name), flat(pattern)))
}

export function isPattern(text: string): boolean {
  return /[*?[{]/.test(text)
}

/** The numbers of `100`, `100-199`; null for `*`, all of them. Throws an Error for other text. */
export function rangeOf(text: string | number): { from: number; to: number } | null {
  if (text === '*') return null
  const [, from, to] = /^(\d{1,9})(?:-(\d{1,9}))?$/.exec(String(text)) ?? []
  if (from === undefined || Number(to ?? from) < Number(from))
    throw new Error(`'${text}' is no range of ids, such as 100-199`)
  return { from: Number(from), to: Number(to ?? from) }
}
