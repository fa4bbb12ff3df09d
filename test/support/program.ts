/**
 * The program as the package has it, for tests that start the command line: it starts in two thirds of the processor time that the sources
 * need. It is laid out like an installed package, below node_modules/.cache, and made again when a source has changed.
 */

import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  chmodSync,
  copyFileSync,
  existsSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs'
import { join } from 'node:path'

const root = join(import.meta.dirname, '../..')
const SOURCES = join(root, 'src/cli/vmapipe.js')
const CACHE = join(root, 'node_modules/.cache/vmapipe-program')
/** An older one may still be in use by tests that began before. */
const KEPT_MS = 3_600_000

/** What is started: test/run.ts says where the program is; without it these are the sources. */
export const LAUNCHER = process.env.VMAPIPE_TEST_LAUNCHER ?? SOURCES
/** For a test of the sources themselves, such as which of them a command loads. */
export const SOURCE_LAUNCHER = SOURCES

/** Makes the program if there is none of these sources. Returns its launcher. */
export function makeProgram(): string {
  const made = join(CACHE, fingerprint())
  const launcher = join(made, 'src/cli/vmapipe.js')
  if (existsSync(launcher)) return launcher
  mkdirSync(CACHE, { recursive: true })
  forgetOld()
  const being = mkdtempSync(join(CACHE, 'being-made-'))
  // Some tests start it as another user.
  chmodSync(being, 0o755)
  execFileSync(process.execPath, [join(root, 'src/write-bundle.ts'), join(being, 'dist')], {
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  mkdirSync(join(being, 'src/cli'), { recursive: true })
  for (const file of ['package.json', 'src/cli/vmapipe.js']) copyFileSync(join(root, file), join(being, file))
  try {
    renameSync(being, made)
  } catch (error) {
    // Somebody else was faster with the same one.
    rmSync(being, { recursive: true })
    if (!existsSync(launcher)) throw error
  }
  return launcher
}

/** Changes with every source, and every package that is bundled. */
function fingerprint(): string {
  const hash = createHash('sha256')
  const files = [...globSync('src/**/*.*', { cwd: root }).sort(), 'package.json', 'package-lock.json']
  for (const file of files) {
    const { size, mtimeMs, ctimeMs } = statSync(join(root, file))
    hash.update(`${file} ${size} ${mtimeMs} ${ctimeMs}\n`)
  }
  return hash.digest('hex').slice(0, 16)
}

function forgetOld(): void {
  for (const path of globSync(join(CACHE, '*')))
    if (statSync(path).mtimeMs < Date.now() - KEPT_MS) rmSync(path, { recursive: true, force: true })
}
