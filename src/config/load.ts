/**
 * Loads a pipeline config: a YAML or JSON file, or a module with stages of its own. Relative paths in it are relative to the current
 * directory, as on the command line. All errors in it are CONFIG, with file, line, column and path.
 */

import { extname } from 'node:path'
import { describe, VmapipeError } from '../core/errors.ts'
import { definePipeline, type Pipeline } from '../core/pipeline.ts'
import type { BoundStage } from '../core/stage.ts'
import { readSmallFile } from '../storage/config-file.ts'
import { loadModule } from './module.ts'
import { type ReadContext, readPipeline, registryOf } from './read.ts'
import { stages as builtIn } from './registry.ts'
import type { PipelineParts, Registry } from './schema.ts'

export interface PipelineConfig {
  name: string | undefined
  pipeline: Pipeline
  /** Bytes. */
  buffer: number | undefined
  threads: number | undefined
  /** Whether the archive is to be read back and checked. */
  verify: boolean | undefined
}

export interface LoadOptions {
  /** Parameters from outside: `--set NAME=VALUE`. */
  set?: Record<string, string>
  env?: Record<string, string | undefined>
  /** The stages by name; those of vmapipe by default. */
  registry?: Registry
}

/** The largest config. No person writes a larger one, and the YAML parser's time grows with the square of the number of keys. */
const MAX_CONFIG_BYTES = 64 << 10

const MODULES = ['.ts', '.mts', '.js', '.mjs']

export async function loadPipeline(file: string, options: LoadOptions = {}): Promise<PipelineConfig> {
  const { set = {}, env = process.env, registry = builtIn } = options
  const parts = MODULES.includes(extname(file))
    ? await loadModule(file, set, registry)
    : await readFrom(file, await readText(file), { set, env, registry })
  const { name, buffer, threads, verify } = parts
  return { name, buffer, threads, verify, pipeline: closedPipeline(file, parts.stages) }
}

async function readFrom(file: string, text: string, context: ReadContext): Promise<PipelineParts> {
  return readPipeline(file, text, { ...context, registry: await registryOf(file, text, context.registry) })
}

/** Joins the stages to a pipeline. They must fit, from a source to a sink. */
function closedPipeline(file: string, stages: readonly BoundStage[]): Pipeline {
  try {
    const pipeline = definePipeline(stages)
    if (pipeline.input !== 'nothing')
      throw new VmapipeError('CONFIG', `the pipeline begins without a source of ${pipeline.input}`)
    if (pipeline.output !== 'nothing')
      throw new VmapipeError('CONFIG', `the pipeline ends without a sink of ${pipeline.output}`)
    return pipeline
  } catch (error) {
    if (!(error instanceof VmapipeError)) throw error
    const { stage, hint } = error
    const message = `${file}: the stages do not fit: ${stage === undefined ? '' : `${stage}: `}${error.message}`
    throw new VmapipeError('CONFIG', message, { hint, cause: error })
  }
}

async function readText(file: string): Promise<string> {
  try {
    const bytes = await readSmallFile(file, MAX_CONFIG_BYTES)
    if (bytes.length > MAX_CONFIG_BYTES) throw new Error('larger than 64 KiB, this is no pipeline config')
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch (error) {
    throw new VmapipeError('CONFIG', `cannot read the pipeline config: ${describe(error as Error)}`, {
      file,
      cause: error,
    })
  }
}
