/** Makes a pipeline from a list of stages and checks that neighbours fit. */

import { VmapipeError } from './errors.ts'
import { asStage, type PipelineStage } from './foreign.ts'
import type { Kind } from './items.ts'
import { checkOptions } from './options.ts'
import { runStages } from './run.ts'
import { type RunOptions, type RunResult, runShape } from './run-options.ts'
import type { BoundStage, Misplacement } from './stage.ts'

export type { RunOptions, RunResult } from './run-options.ts'

/** Stages that fit together. It can run as often as its stages can be made anew. */
export interface Pipeline {
  /** Streams and functions of others are made stages. */
  readonly stages: readonly BoundStage[]
  /** The kinds of items at its two ends. Both are `nothing` if the pipeline can run. */
  readonly input: Kind
  readonly output: Kind
  run(options?: RunOptions): Promise<RunResult>
}

/**
 * Makes a pipeline of stages. Throws USAGE if neighbours do not fit.
 * A pipeline may be open at its ends (see toNodeStream); only a closed one can run.
 * The stages may be streams and functions of others, see ForeignStage.
 *
 *     await definePipeline([source({ from: 'vm.vma' }), compressor({ method: 'zstd' }), sink({ to: 'vm.vma.zst' })]).run()
 */
export function definePipeline<const Stages extends readonly PipelineStage[]>(
  list: Stages & Fitting<Stages>,
): Pipeline {
  const stages = list.map(asStage)
  const { input, output } = checkNeighbours(stages)
  const [wrong] = misplacedStages(stages)
  if (wrong !== undefined) throw new VmapipeError('USAGE', wrong.message, { stage: wrong.stage, hint: wrong.hint })
  return {
    stages,
    input,
    output,
    run: (options) => {
      if (input !== 'nothing' || output !== 'nothing') {
        const [what, wanted] = input !== 'nothing' ? ['begin', `a source of ${input}`] : ['end', `a sink of ${output}`]
        throw new VmapipeError('USAGE', `the pipeline does not ${what} with ${wanted}`)
      }
      if (options !== undefined) checkOptions('run', { shape: runShape }, options)
      return runSurrounded(stages, options)
    },
  }
}

/** The stages that say that they cannot be where they are, in the order of the pipeline. */
export function misplacedStages(stages: readonly BoundStage[]): (Misplacement & { index: number; stage: string })[] {
  return stages.flatMap(({ definition, options }, index) => {
    const problem = definition.misplaced?.(options as never, stages, index)
    return problem ? [{ ...problem, index, stage: definition.name }] : []
  })
}

/** Runs the stages, or has the stage that surrounds them do so. */
function runSurrounded(stages: readonly BoundStage[], options: RunOptions = {}): Promise<RunResult> {
  const index = stages.findIndex(({ definition }) => definition.around !== undefined)
  if (index < 0) return runStages(stages, options)
  const { definition, options: own } = stages[index]
  const { signal, warn = () => {}, inform = () => {} } = options
  return definition.around!<RunResult>(own as never, {
    ...{ stages, index, signal, inform },
    warn: (message) => warn(message),
    run: (other, signal) => runStages(other, { ...options, signal }),
  })
}

/**
 * The same list if neighbours fit, as far as the compiler knows their kinds. Otherwise the first stage that does not fit
 * becomes a `Misfit`, whose text the compiler's error quotes.
 */
export type Fitting<Stages extends readonly PipelineStage[]> = Stages extends readonly [
  infer First extends PipelineStage,
  ...infer Rest extends readonly PipelineStage[],
]
  ? readonly [First, ...FittingRest<Rest, Flowing<Bound<First>, 'bytes'>, Bound<First>['definition']['name']>]
  : Stages

/** The stage itself, or what is made of a stream or function: it gives the kind of items that it takes. */
type Bound<Stage extends PipelineStage> = Stage extends BoundStage
  ? Stage
  : BoundStage<'any', 'same', 'a stream or function'>

/** Stands for a stage that does not fit, in the error of the compiler. */
export interface Misfit<Problem extends string> {
  readonly problem: Problem
}

type FittingRest<
  Stages extends readonly PipelineStage[],
  Flow extends Kind,
  Before extends string,
> = Stages extends readonly [infer First extends PipelineStage, ...infer Rest extends readonly PipelineStage[]]
  ? Takes<Bound<First>, Flow> extends true
    ? [First, ...FittingRest<Rest, Flowing<Bound<First>, Flow>, Bound<First>['definition']['name']>]
    : [Misfit<MisfitText<Bound<First>, Flow, Before>>, ...Rest]
  : Stages

type MisfitText<
  Stage extends BoundStage,
  Flow extends Kind,
  Before extends string,
> = `${Stage['definition']['name']} takes ${Stage['definition']['input']}, ${Before} gives ${Flow}`

/** Whether a stage takes these items. A stage whose kind is unknown, such as one by name, counts as fitting. */
type Takes<Stage extends BoundStage, Flow extends Kind> = Kind extends Stage['definition']['input']
  ? true
  : Stage['definition']['input'] extends 'any'
    ? true
    : Stage['definition']['input'] extends Flow
      ? true
      : false

type Flowing<Stage extends BoundStage, Flow extends Kind> = Stage['definition']['output'] extends infer Out extends Kind
  ? Out
  : Stage['definition']['output'] extends 'same'
    ? Flow
    : Kind

/** The kinds of items that enter the first stage and leave the last. Throws USAGE if neighbours do not fit. */
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
