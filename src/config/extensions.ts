/**
 * Loads stages of others for a config: `use: [./my-stages.ts, some-npm-package]`. A module exports what defineStage gives, by any
 * name, or lists of these. Paths and packages are looked up from the folder of the config.
 */

import { stat } from 'node:fs/promises'
import { findPackageJSON, isBuiltin } from 'node:module'
import { dirname, extname, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { VmapipeError } from '../core/errors.ts'
import type { AnyStageFactory, StageFactory } from '../core/stage.ts'
import { importOurs } from './import-ours.ts'
import { stages as builtIn } from './registry.ts'
import type { Registry } from './schema.ts'
import { refuseUntrusted } from './trusted-file.ts'

const MODULES = ['.ts', '.mts', '.js', '.mjs']

/** The name of an npm package, which may have a scope. */
const PACKAGE = /^(@[a-z0-9][a-z0-9._-]*\/)?[a-z0-9][a-z0-9._-]*$/

/** The name of a stage, as it stands in a config. */
const STAGE = /^[a-z][a-z0-9]*(-[a-z0-9]+)*$/
const LONGEST_NAME = 60

const INPUTS = ['nothing', 'clusters', 'ranges', 'bytes', 'any']
const OUTPUTS = ['nothing', 'clusters', 'ranges', 'bytes', 'same']

/** Where the names of modules count from. */
interface Place {
  /** A file in the folder, which need not exist. */
  file: string
  /** Whether it is a config: then a path must stay in its folder. A user who types a path may name any. */
  isConfig: boolean
}

/** The registry with the stages of this module. Throws CONFIG with the module in its message. */
export async function withStagesOf(module: string, place: Place, registry: Registry): Promise<Registry> {
  const all = new Map(registry)
  for (const stage of await loadStages(module, place)) {
    const { name } = stage.definition
    if (all.has(name)) throw problem(module, `its stage '${name}' has the name of another one`, 'rename it')
    all.set(name, stage as unknown as StageFactory)
  }
  return all
}

/** The stages of vmapipe with those of modules that a user has typed. */
export async function registryWith(modules: readonly string[]): Promise<Registry> {
  let all: Registry = builtIn
  for (const typed of modules) {
    const isFile = MODULES.includes(extname(typed)) && !/^\.{0,2}\//.test(typed)
    all = await withStagesOf(isFile ? `./${typed}` : typed, { file: resolve('config'), isConfig: false }, all)
  }
  return all
}

async function loadStages(module: string, { file, isConfig }: Place): Promise<AnyStageFactory[]> {
  const isPath = /^\.{0,2}\//.test(module)
  const from = resolve(file)
  let exported: Record<string, unknown>
  try {
    const path = isPath ? pathOfModule(module, from, isConfig) : packageEntry(module, from)
    await refuseUntrusted(path, isConfig ? [(await stat(from)).uid] : [])
    exported = await importOurs(isPath ? pathToFileURL(path).href : module, pathToFileURL(from).href)
  } catch (error) {
    const { message, hint } = (error ?? {}) as Partial<VmapipeError>
    throw problem(module, String(message ?? error).split('\n')[0], hint, error)
  }
  const stages = Object.values(exported).flat().filter(isStage)
  if (stages.length === 0) throw problem(module, 'it exports no stage', 'export what defineStage gives')
  for (const { definition } of stages) checkDefinition(module, definition)
  // One stage may be exported by its name and as the default.
  return [...new Set(stages)]
}

/** The file of a path that counts from a folder. */
function pathOfModule(module: string, from: string, staysIn: boolean): string {
  const folder = dirname(from)
  const path = resolve(folder, module)
  if (staysIn && !path.startsWith(folder === '/' ? '/' : `${folder}/`)) {
    throw new VmapipeError('CONFIG', 'it is not below the folder of the config', {
      hint: 'put it there, or make a package of it',
    })
  }
  if (!MODULES.includes(extname(path))) throw new Error(`it is no module: the name must end in ${MODULES.join(', ')}`)
  return path
}

/** A file of the package. Throws if there is no such package for the folder. */
function packageEntry(module: string, from: string): string {
  if (!PACKAGE.test(module)) {
    throw new VmapipeError('CONFIG', 'it is neither a path nor the name of a package', {
      hint: 'a path begins with ./',
    })
  }
  const found = isBuiltin(module) ? undefined : findPackage(module, from)
  if (found !== undefined) return found
  throw new VmapipeError('CONFIG', 'there is no such package', { hint: 'install it by npm in that folder' })
}

function findPackage(module: string, from: string): string | undefined {
  try {
    return findPackageJSON(module, pathToFileURL(from))
  } catch {
    return undefined
  }
}

/** What is wrong with the name of a stage, or null. */
export function checkStageName(name: unknown): string | null {
  if (typeof name === 'string' && STAGE.test(name) && name.length <= LONGEST_NAME) return null
  return `is no name for a stage: that has small letters, digits and single hyphens, at most ${LONGEST_NAME}`
}

function isStage(value: unknown): value is AnyStageFactory {
  const { definition } = (value ?? {}) as Partial<AnyStageFactory>
  return typeof value === 'function' && typeof definition?.create === 'function'
}

function checkDefinition(
  module: string,
  { name, summary, input, output, options }: AnyStageFactory['definition'],
): void {
  const wrongName = checkStageName(name)
  if (wrongName !== null) throw problem(module, `'${name}' ${wrongName}`)
  const wrong = (what: string) => problem(module, `its stage '${name}' ${what}`)
  if (typeof summary !== 'string') throw wrong('has no summary')
  if (!INPUTS.includes(input)) throw wrong(`takes '${input}', and stages take ${INPUTS.join(', ')}`)
  if (!OUTPUTS.includes(output)) throw wrong(`gives '${output}', and stages give ${OUTPUTS.join(', ')}`)
  if (typeof options?.safeParse !== 'function') throw wrong('has no schema of its options (z.strictObject({…}))')
}

function problem(module: string, message: string, hint?: string, cause?: unknown): VmapipeError {
  return new VmapipeError('CONFIG', `cannot use '${module}': ${message}`, { hint, cause })
}
