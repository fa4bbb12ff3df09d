/** Values in unit files (systemd.syntax(7), systemd.unit(5)): specifiers, quotes and escapes, so that a path is the path that it is. */

import { VmapipeError } from '../../core/errors.ts'

/** Text in which nothing is a specifier or ends the line. */
export function plain(text: string): string {
  if (/[\u0000-\u001f\u007f]/.test(text))
    throw new VmapipeError('CONFIG', `'${text}' has a control character, which no unit of systemd can have`)
  return text.replaceAll('%', '%%')
}

/** One word of a list, such as a path. */
export function word(text: string): string {
  const escaped = plain(text).replaceAll('\\', '\\\\').replaceAll('"', '\\"')
  return /^[\w./:@%+=,-]+$/.test(escaped) ? escaped : `"${escaped}"`
}

/** A command line, in which `$` begins a variable. */
export function command(words: readonly string[]): string {
  return words.map((text) => word(text).replaceAll('$', '$$$$')).join(' ')
}
