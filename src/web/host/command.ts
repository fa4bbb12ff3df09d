/** Our own command line as a child process, and as text that people can copy. Words are always a list: no shell ever sees them. */

import { type ChildProcess, spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { VmapipeError } from '../../core/errors.ts'
import { spawnTied } from '../../system/child.ts'

export interface CommandLine {
  /** The program and its first words, such as node and the path of vmapipe.js. */
  start: readonly string[]
  /** Variables that children get beside ours. */
  env: Readonly<Record<string, string>>
}

/** In a checkout and in the package it is at the same place. */
const LAUNCHER = fileURLToPath(new URL('../../../src/cli/vmapipe.js', import.meta.url))

/** How our command line is started, by the Node that runs this. */
export function ownStart(): string[] {
  return [process.execPath, LAUNCHER]
}

/**
 * Starts a command. It is in a session of its own: it can ask nobody at a terminal, and Ctrl-C there is not for it. `isTied`: it ends when
 * this process does.
 */
export function startCommand(
  { start, env }: CommandLine,
  words: readonly string[],
  { isTied = true } = {},
): ChildProcess {
  const [program, ...first] = start
  const all = [...first, ...words]
  refuseNul(all)
  const options = {
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'] as ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, NO_COLOR: '1', ...env },
  }
  return isTied ? spawnTied(program, all, options) : spawn(program, all, options)
}

/** No program takes a NUL byte in its words, and a lone surrogate would become another character. */
function refuseNul(words: readonly string[]): void {
  if (words.some((word) => word.includes('\0') || !word.isWellFormed()))
    throw new VmapipeError('USAGE', 'there are characters in a name that no command takes')
}

/** The words as a POSIX shell reads them back: each is itself, whatever is in it. */
export function shellText(words: readonly string[]): string {
  return words.map(quoted).join(' ')
}

function quoted(word: string): string {
  if (/^[A-Za-z0-9_@%+:,./-][A-Za-z0-9_@%+=:,./-]*$/.test(word)) return word
  return `'${word.replaceAll("'", "'\\''")}'`
}
