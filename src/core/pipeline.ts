/**
 * Pipelines: a list of stages that fit, and the runner. The runner opens every stage, lets the items flow, and is
 * done when every stage is closed. The first error wins, with the name of its stage; it aborts the others.
 */

import { pipeline as connect, type Stream } from 'streamx'
import { Budget } from './budget.ts'
import { Counters } from './counters.ts'
import { asVmapipeError, VmapipeError } from './errors.ts'
import type { Kind } from './items.ts'
import type { BoundStage, StageBody, StageContext, Step } from './stage.ts'
import { fuse } from './steps.ts'
import { blame, toStream } from './streams.ts'

/** 64 MiB: enough for both processors and a disk to be busy at once. */
export const DEFAULT_BUDGET = 64 << 20

export interface RunOptions {
  /** Bytes that may be held in memory by all stages together; 64 MiB unless told otherwise. */
  buffer?: number
  /** Processor-bound work to do at once; the number of processors unless told otherwise. */
  threads?: number
  signal?: AbortSignal
  counters?: Counters
  warn?: (message: string) => void
}

export interface RunResult {
  counters: Counters
  /** The most bytes that were on lease at once. */
  highWater: number
  seconds: number
}

export interface Pipeline {
  readonly stages: readonly BoundStage[]
  /** What flows in and out at its ends; `nothing` at both for one that can run. */
  readonly input: Kind
  readonly output: Kind
  run(options?: RunOptions): Promise<RunResult>
}

/**
 * Stages that fit together, as a pipeline. Throws USAGE where neighbours do not fit.
 * It may be open at its ends (see toNodeStream); only a closed one can run.
 */
export function definePipeline(stages: readonly BoundStage[]): Pipeline {
  const { input, output } = checkNeighbours(stages)
  return {
    stages,
    input,
    output,
    run: (options) => {
      if (input !== 'nothing' || output !== 'nothing') {
        const [what, wanted] = input !== 'nothing' ? ['begin', `a source of ${input}`] : ['end', `a sink of ${output}`]
        throw new VmapipeError('USAGE', `the pipeline does not ${what} with ${wanted}`)
      }
      return runStages(stages, options)
    },
  }
}

/** What enters the first stage and leaves the last. */
function checkNeighbours(stages: readonly BoundStage[]): { input: Kind; output: Kind } {
  if (stages.length === 0) throw new VmapipeError('USAGE', 'a pipeline needs at least one stage')
  const given = (kind: Kind | 'any') => (kind === 'any' ? 'bytes' : kind)
  const input = given(stages[0].definition.input)
  let flowing: Kind = input
  for (const [index, { definition }] of stages.entries()) {
    const fits = definition.input === flowing || (definition.input === 'any' && flowing !== 'nothing')
    if (!fits) {
      const before = index === 0 ? 'the beginning' : stages[index - 1].definition.name
      throw new VmapipeError('USAGE', `stage ${index + 1} takes ${definition.input}, ${before} gives ${flowing}`, {
        stage: definition.name,
        hint: bridgeHint(flowing, definition.input),
      })
    }
    flowing = definition.output === 'same' ? flowing : definition.output
  }
  return { input, output: flowing }
}

const BRIDGES: Record<string, string> = {
  'clusters>bytes': 'vma-framer makes bytes of clusters',
  'bytes>clusters': 'vma-deframer makes clusters of bytes',
  'clusters>ranges': 'zero-expander makes ranges of clusters',
  'bytes>ranges': 'vma-deframer and zero-expander make ranges of bytes',
  'nothing>clusters': 'a pipeline begins with a source, such as cluster-source',
  'nothing>bytes': 'a pipeline begins with a source, such as source',
}

function bridgeHint(from: string, to: string): string | undefined {
  return BRIDGES[`${from}>${to}`] ?? (to === 'nothing' ? 'a source can only come first' : undefined)
}

interface Part {
  name: string
  body: StageBody
}

async function runStages(stages: readonly BoundStage[], options: RunOptions = {}): Promise<RunResult> {
  const { availableParallelism } = await import('node:os')
  const {
    buffer = DEFAULT_BUDGET,
    threads = availableParallelism(),
    counters = new Counters(),
    warn = () => {},
  } = options
  const started = performance.now()
  const controller = new AbortController()
  const budget = new Budget(buffer)
  let failure: VmapipeError | null = null
  const fail = (stage: string, error: unknown): VmapipeError => {
    const wrapped = blame(stage, error)
    if (failure === null) {
      failure = wrapped
      budget.close(wrapped)
      controller.abort(wrapped)
    } else if (wrapped !== failure && wrapped.code !== 'ABORTED') {
      failure.suppressed.push(wrapped)
    }
    return wrapped
  }
  const context = (name: string): StageContext => ({
    name,
    budget,
    counters,
    signal: controller.signal,
    threads,
    warn: (message) => warn(`${name}: ${message}`),
  })
  const onAbort = () => fail('pipeline', abortError(options.signal!))
  if (options.signal?.aborted) throw abortError(options.signal)
  options.signal?.addEventListener('abort', onAbort, { once: true })
  try {
    const parts = createAll(stages, context)
    await openAll(parts, fail, () => failure)
    await flow(parts, fail, controller.signal)
  } catch (error) {
    failure ??= asVmapipeError(error)
  } finally {
    options.signal?.removeEventListener('abort', onAbort)
  }
  if (failure !== null) throw failure
  return { counters, highWater: budget.highWater, seconds: (performance.now() - started) / 1000 }
}

function abortError(signal: AbortSignal): VmapipeError {
  return signal.reason instanceof VmapipeError
    ? signal.reason
    : new VmapipeError('ABORTED', 'aborted', { cause: signal.reason })
}

function createAll(stages: readonly BoundStage[], context: (name: string) => StageContext): Part[] {
  return stages.map(({ definition, options }) => {
    const { name } = definition
    try {
      return { name, body: definition.create(options as never, context(name)) }
    } catch (error) {
      throw blame(name, error)
    }
  })
}

type Closable = { open?(): unknown; close?(error: Error | null): unknown; destroy?(error: Error): unknown }

/** Opens all stages in the order of the pipeline; where one fails, those before it and itself are closed. */
async function openAll(
  parts: Part[],
  fail: (stage: string, error: unknown) => VmapipeError,
  failure: () => VmapipeError | null,
): Promise<void> {
  for (const [index, { name, body }] of parts.entries()) {
    try {
      if (isHooks(body)) await (body as Closable).open?.()
      if (failure()) throw failure()
    } catch (error) {
      const first = fail(name, error)
      for (const { name, body } of parts.slice(0, index + 1).reverse()) {
        try {
          await ((body as Closable).close?.(first) ?? (body as Closable).destroy?.(first))
        } catch (error) {
          fail(name, error)
        }
      }
      throw first
    }
  }
}

function isHooks(body: StageBody): boolean {
  return typeof body === 'object' && !('pipe' in body && typeof body.pipe === 'function')
}

/** Connects the streams and waits until every one of them is closed. */
async function flow(
  parts: Part[],
  fail: (stage: string, error: unknown) => VmapipeError,
  signal: AbortSignal,
): Promise<void> {
  const streams: Stream[] = []
  for (const group of groupSteps(parts)) {
    const { name } = group[0]
    const { body } = group[0]
    const stream =
      typeof body === 'function'
        ? toStream(fuse(group.map((part) => ({ step: part.body as Step, blame: (e) => fail(part.name, e) }))), (e) =>
            fail(name, e),
          )
        : toStream(body, (e) => fail(name, e))
    stream.on('error', (error) => fail(name, error))
    streams.push(stream)
  }
  const closed = streams.map((stream) => new Promise((resolve) => stream.once('close', () => resolve(null))))
  const destroy = () => {
    for (const stream of streams) stream.destroy(signal.reason)
  }
  signal.addEventListener('abort', destroy, { once: true })
  if (streams.length > 1) connect(streams as never, () => {})
  else (streams[0] as any).resume?.()
  await Promise.all(closed)
  signal.removeEventListener('abort', destroy)
}

/** Runs of neighbouring steps together, every other stage by itself. */
function groupSteps(parts: Part[]): Part[][] {
  const groups: Part[][] = []
  for (const part of parts) {
    const last = groups.at(-1)
    const joins = typeof part.body === 'function' && last !== undefined && typeof last[0].body === 'function'
    if (joins) last.push(part)
    else groups.push([part])
  }
  return groups
}
