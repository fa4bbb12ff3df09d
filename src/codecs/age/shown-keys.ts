/**
 * What is shown of files with secret keys: their names, not where they are. Those who may look need not know what to look for on a host. A
 * command that somebody asks for to run it has the whole paths: without them it does not work, and only those who may restore can ask.
 */

import { basename } from 'node:path'

/** Shortens each path of a file of keys in a text to `…/NAME`. A path that only begins like one stays. */
export function withoutKeyFolders(text: string, files: Iterable<string>): string {
  let shown = text
  for (const file of new Set(files)) {
    if (!file.includes('/') || !shown.includes(file)) continue
    const path = file.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&')
    // A word such as --identity=/etc/key has it too. A full stop may end the sentence.
    const whole = new RegExp(`(?<![\\w./-])${path}(?![\\w/-]|\\.\\w)`, 'g')
    shown = shown.replace(whole, () => `…/${basename(file)}`)
  }
  return shown
}
