/** Writes the man pages and the completions of the package into dist/: a part of npm run build. */

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { COMPLETIONS } from '../completion/completions.ts'
import { allCommands, describeCommand } from '../describe-commands.ts'
import { makeProgram } from '../program.ts'
import { manPage, pageName } from './man-page.ts'

const root = join(import.meta.dirname, '../../..')
const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
// A build that is to be the same each time names its time (reproducible-builds.org).
const time =
  process.env.SOURCE_DATE_EPOCH === undefined ? new Date() : new Date(Number(process.env.SOURCE_DATE_EPOCH) * 1000)
const edition = { version, date: time.toISOString().slice(0, 10) }

// Help is as wide as the terminal; pages have their own lines.
process.env.NO_COLOR = '1'
const program = describeCommand(await makeProgram(['node', 'vmapipe']))
write(
  'man',
  Object.fromEntries(allCommands(program).map((one) => [`${pageName(one)}.1`, manPage(one, program, edition)])),
)
write('completions', {
  'vmapipe.bash': COMPLETIONS.bash(program),
  _vmapipe: COMPLETIONS.zsh(program),
  'vmapipe.fish': COMPLETIONS.fish(program),
})

function write(folder: string, files: Record<string, string>): void {
  const path = join(root, 'dist', folder)
  mkdirSync(path, { recursive: true })
  for (const [name, text] of Object.entries(files)) writeFileSync(join(path, name), text)
}
