/**
 * Loads a pipeline from a module. Its default export is a result of definePipeline, or `{ stages: […], name?, buffer?, threads?, verify? }`,
 * or a function of the parameters (--set) that returns one of these. Stages are made in code, or written as in a YAML config.
 */

import { stat } from 'node:fs/promises'
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { LEAST_BUDGET } from '../core/budget.ts'
import { VmapipeError } from '../core/errors.ts'
import { formatBytes, parseBytes } from '../core/size.ts'
import { bindItems } from './bind.ts'
import { pathText } from './document.ts'
import { importOurs } from './import-ours.ts'
import type { PipelineParts, Registry } from './schema.ts'

export async function loadModule(
  file: string,
  set: Record<string, string>,
  registry: Registry,
): Promise<PipelineParts> {
  const exported = await importDefault(file)
  if (typeof exported !== 'function' && Object.keys(set).length > 0) {
    throw new VmapipeError('CONFIG', `${file}: this pipeline takes no parameters`, {
      hint: 'a module that exports a function is given them',
    })
  }
  const made = typeof exported === 'function' ? await call(file, exported as (set: object) => unknown, set) : exported
  return parts(file, made, registry)
}

async function importDefault(file: string): Promise<unknown> {
  try {
    // Node would wait for a writer of a FIFO, in the thread that handles Ctrl-C.
    if (!(await stat(file)).isFile()) throw new Error('it is not a file')
    const { href } = pathToFileURL(resolve(file))
    const module = await importOurs(href, href)
    if (module.default === undefined) throw new Error('it has no default export')
    return module.default
  } catch (error) {
    throw broken(file, 'cannot load the pipeline', error)
  }
}

async function call(file: string, make: (set: object) => unknown, set: Record<string, string>): Promise<unknown> {
  try {
    return await make({ ...set })
  } catch (error) {
    throw broken(file, 'the pipeline cannot be made', error)
  }
}

function parts(file: string, made: unknown, registry: Registry): PipelineParts {
  const { stages, name, buffer, threads, verify } = (made ?? {}) as Record<string, unknown>
  if (!Array.isArray(stages)) {
    throw new VmapipeError('CONFIG', `${file}: expected a pipeline, or a map with stages`, {
      hint: 'export default definePipeline([…])',
    })
  }
  const bound = bindItems(stages, registry)
  const [problem] = bound.problems
  if (problem !== undefined) {
    throw new VmapipeError('CONFIG', `${file}: ${pathText(problem.path)}: ${problem.message}`, { hint: problem.hint })
  }
  const bytes = typeof buffer === 'string' ? parseBytes(buffer) : (buffer as number | undefined)
  if (buffer !== undefined && !(Number.isInteger(bytes) && bytes! >= LEAST_BUDGET)) {
    throw new VmapipeError(
      'CONFIG',
      `${file}: buffer: expected a size such as 64MiB, at least ${formatBytes(LEAST_BUDGET)}`,
    )
  }
  if (threads !== undefined && !(Number.isInteger(threads) && (threads as number) > 0)) {
    throw new VmapipeError('CONFIG', `${file}: threads: expected a whole number from 1`)
  }
  return {
    stages: bound.stages,
    name: typeof name === 'string' ? name : undefined,
    buffer: bytes,
    threads: threads as number | undefined,
    verify: verify === true,
  }
}

function broken(file: string, what: string, error: unknown): VmapipeError {
  const { stage, hint } = (error ?? {}) as Partial<VmapipeError>
  const message = String((error as Error)?.message ?? error).split('\n')[0]
  return new VmapipeError('CONFIG', `${file}: ${what}: ${stage ? `${stage}: ` : ''}${message}`, { hint, cause: error })
}
