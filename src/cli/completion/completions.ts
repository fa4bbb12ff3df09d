/** The completion of each shell, as a script. None of them starts Node: a key must be answered at once. */

import type { CommandDescription } from '../describe-commands.ts'
import { bashCompletion } from './bash.ts'
import { fishCompletion } from './fish.ts'
import { zshCompletion } from './zsh.ts'

export const SHELLS = ['bash', 'zsh', 'fish'] as const

export const COMPLETIONS: Record<(typeof SHELLS)[number], (program: CommandDescription) => string> = {
  bash: bashCompletion,
  zsh: zshCompletion,
  fish: fishCompletion,
}
