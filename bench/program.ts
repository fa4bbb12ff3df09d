/** The program that is measured: the package as npm would install it, which starts faster than a checkout. */

import { execFileSync } from 'node:child_process'
import { cpSync, mkdirSync, readFileSync, symlinkSync } from 'node:fs'
import { dirname, join } from 'node:path'

const ROOT = join(import.meta.dirname, '..')

/** Builds the package and lays it out under `folder`. Returns the launcher. */
export function installPackage(folder: string): string {
  execFileSync('npm', ['run', '--silent', 'build'], { cwd: ROOT, stdio: ['ignore', 'ignore', 'inherit'] })
  const modules = join(folder, 'node_modules')
  const installed = join(modules, 'vmapipe')
  mkdirSync(join(installed, 'src/cli'), { recursive: true })
  for (const part of ['dist', 'package.json', 'src/cli/vmapipe.js'])
    cpSync(join(ROOT, part), join(installed, part), { recursive: true })
  const { dependencies } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'))
  for (const name of Object.keys(dependencies)) {
    mkdirSync(dirname(join(modules, name)), { recursive: true })
    symlinkSync(join(ROOT, 'node_modules', name), join(modules, name))
  }
  return join(installed, 'src/cli/vmapipe.js')
}
