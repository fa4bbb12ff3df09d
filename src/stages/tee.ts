/**
 * Gives the same items to several branches, such as a disk and another machine. The slowest branch holds the others back, nothing is
 * copied, and all branches share one budget of memory.
 *
 * No branch publishes before every required branch has all of its items and has made them durable. Then the required branches publish
 * one after the other, in their order, and the others after them. If a required branch cannot publish, those before it have: that cannot be
 * undone.
 */

import { VmapipeError } from '../core/errors.ts'
import type { Item, Kind } from '../core/items.ts'
import { definePipeline } from '../core/pipeline.ts'
import { type BoundStage, defineStage, type Misplacement, type SinkBody, type StageContext, z } from '../core/stage.ts'
import { Branch, sourceOf } from './tee/branch.ts'

/** How often within its time limit a branch is looked at. */
const LOOKS = 6

/** The time that an optional branch has to finish after all required ones, as a multiple of its time limit: a sync may take minutes. */
const FINISH_FACTOR = 10

/** How long the end of the run waits for the stages of a branch that was given up, in milliseconds. */
const HUNG_MS = 2000

const branchOptions = z.strictObject({
  name: z.string().min(1).max(100).describe('a name for messages'),
  required: z
    .boolean()
    .default(true)
    .describe('whether its failure fails the run; otherwise the others go on without it'),
  stages: z
    .array(
      z
        .custom<BoundStage>((value) => typeof (value as BoundStage | null)?.definition?.create === 'function', {
          error: 'expected a stage',
        })
        .meta({ $ref: '#/properties/stages/items' }),
    )
    .min(1)
    .describe('its stages, which end with a sink'),
})

const options = z.strictObject({
  branches: z
    .array(branchOptions)
    .min(1)
    .refine((branches) => new Set(branches.map(({ name }) => name)).size === branches.length, {
      error: 'expected a name of its own for each branch',
    })
    .describe('branches, each with name, required (true by default) and stages'),
  'give-up-after': z
    .number()
    .positive()
    .max(86_400)
    .default(30)
    .describe('seconds after which a branch that is not required and takes nothing is given up, 30 if left out'),
  'hold-back': z
    .number()
    .positive()
    .max(86_400)
    .optional()
    .describe(
      'seconds in all for which branches that are not required may hold the others back; then they are given up',
    ),
})

type Options = z.output<typeof options>

/**
 * Gives the same items to several branches, without a copy. The slowest holds the others back. Errors: that of a required branch.
 *
 *     await definePipeline([source({ from: 'vm.vma' }), tee({ branches: [{ name: 'near', stages: [sink({ to: 'a.vma' })] }, { name: 'far', required: false, stages: [sink({ to: 'ssh://nas/srv/a.vma' })] }] })]).run()
 */
export const tee = defineStage({
  name: 'tee',
  summary: 'gives the same items to several branches, each with stages of its own',
  input: 'any',
  output: 'nothing',
  options,
  medium: ({ branches }) => branches.map(({ name }) => name).join(', '),
  stageLists: (given) => {
    const { branches } = (given ?? {}) as { branches?: unknown }
    return Array.isArray(branches) ? branches.map((_, index) => ['branches', index, 'stages']) : []
  },
  misplaced: ({ branches }, stages, index) => {
    const kind = kindBefore(stages, index)
    for (const branch of branches) {
      const problem = misfit(branch.stages, kind)
      if (problem !== null) return { ...problem, message: `branch '${branch.name}': ${problem.message}` }
    }
    return null
  },
  create: (given, context) => new Tee(given, context),
})

/** The kind of the items that reach the stage at `index`. */
function kindBefore(stages: readonly BoundStage[], index: number): Kind {
  const before = stages.slice(0, index).findLast(({ definition }) => definition.output !== 'same')
  return (before?.definition.output as Kind | undefined) ?? 'bytes'
}

/** What is wrong with a branch for items of this kind, if anything is. */
function misfit(stages: readonly BoundStage[], kind: Kind): Misplacement | null {
  if (kind === 'nothing') return null
  try {
    const { output } = definePipeline([sourceOf(kind, async () => null), ...stages] as never)
    return output === 'nothing' ? null : { message: `it does not end with a sink of ${output}` }
  } catch (error) {
    if (!(error instanceof VmapipeError)) throw error
    return { message: `${error.stage}: ${error.message}`, ...(error.hint !== undefined && { hint: error.hint }) }
  }
}

class Tee implements SinkBody<Item> {
  readonly #branches: Branch[]
  readonly #context: StageContext
  readonly #limitMs: number
  /** Milliseconds for which optional branches may still hold the others back. */
  #allowance: number
  readonly #holdBack: number | undefined
  readonly #told = new Set<Branch>()
  readonly #since = new Map<Branch, { moves: number; at: number }>()
  #timer: NodeJS.Timeout | undefined
  #publish: () => void = () => {}
  /** Resolves when this run may publish: the tee itself may be in a branch. */
  readonly #mayPublish = new Promise<void>((resolve) => {
    this.#publish = resolve
  })
  readonly #onAbort = () => this.#endAll(this.#context.signal.reason)

  constructor(given: Options, context: StageContext) {
    this.#context = context
    this.#limitMs = given['give-up-after'] * 1000
    this.#allowance = (given['hold-back'] ?? Infinity) * 1000
    this.#holdBack = given['hold-back']
    this.#branches = given.branches.map((branch) => new Branch(branch, context, (one) => this.#turnOf(one)))
  }

  async open(): Promise<void> {
    this.#context.signal.addEventListener('abort', this.#onAbort, { once: true })
    for (const branch of this.#branches) branch.start(() => this.#onEnd(branch))
    await Promise.all(
      this.#branches.map((branch) => this.#within(branch, branch.opened, this.#limitMs, 'did not open')),
    )
    this.#check()
    this.#timer = setInterval(() => this.#look(), Math.max(1, this.#limitMs / LOOKS))
    this.#timer.unref()
  }

  async write(item: Item): Promise<void> {
    const running = this.#branches.filter((branch) => branch.isRunning)
    const shared = running.map((branch) => branch.share(item))
    item.release()
    const given = running.map((branch, index) => branch.give(shared[index]))
    await Promise.all(given.filter((_, index) => running[index].required))
    await this.#optional(running, given)
    this.#check()
  }

  async settle(): Promise<void> {
    await Promise.all(this.#branches.map((branch) => branch.give(null)))
    await Promise.all(this.#required.map((branch) => branch.settled))
    this.#check()
  }

  async final(): Promise<void> {
    this.#publish()
    const required = this.#required
    await Promise.all(required.map((branch) => branch.ended))
    const most = this.#limitMs * FINISH_FACTOR
    const optional = this.#branches.filter((branch) => !branch.required)
    await Promise.all(optional.map((branch) => this.#within(branch, branch.decided, most, 'did not finish')))
    this.#check()
    for (const { name, required, error } of this.#branches) {
      const how = error === null ? 'is complete' : `failed and has nothing: ${error.line}`
      const fields = { branch: name, required, complete: error === null, ...(error !== null && { error: error.line }) }
      this.#context.conclude(`branch '${name}' ${how}`, fields)
    }
  }

  async close(error: Error | null): Promise<void> {
    clearInterval(this.#timer)
    const reason = error instanceof VmapipeError ? error : new VmapipeError('ABORTED', 'the run is over')
    const hung = this.#branches.filter((branch) => branch.error !== null && !branch.required)
    const others = this.#branches.filter((branch) => !hung.includes(branch))
    this.#context.signal.removeEventListener('abort', this.#onAbort)
    this.#endAll(reason)
    await Promise.all(others.map((branch) => branch.ended))
    if (hung.length > 0) await atMost(HUNG_MS, Promise.all(hung.map((branch) => branch.ended)))
  }

  /** Waits until the optional branches have taken their item too, as long as they may hold the others back. */
  async #optional(running: readonly Branch[], given: readonly Promise<void>[]): Promise<void> {
    if (running.every(({ required }) => required)) return
    const taken = Promise.all(given)
    if (this.#holdBack === undefined) return void (await taken)
    const began = performance.now()
    await atMost(this.#allowance, taken)
    this.#allowance -= performance.now() - began
    if (this.#allowance > 0) return
    for (const branch of running) {
      if (!branch.required && branch.isAwaited === 'yes')
        this.#giveUp(branch, `held the others back for ${this.#holdBack} seconds in all`)
    }
  }

  get #required(): Branch[] {
    return this.#branches.filter((branch) => branch.required)
  }

  #endAll(reason: VmapipeError): void {
    for (const branch of this.#branches) branch.giveUp(reason)
  }

  /** Throws the error of the first required branch that has failed, or if no branch is left. */
  #check(): void {
    const failed = this.#branches.find((branch) => branch.required && branch.error !== null)
    if (failed !== undefined) throw failed.error
    if (this.#branches.some((branch) => branch.error === null)) return
    throw new VmapipeError('FAILED', 'every branch has failed', { cause: this.#branches[0].error })
  }

  #onEnd(branch: Branch): void {
    const { error, name, required } = branch
    if (error === null || this.#context.signal.aborted) return
    if (required) this.#context.fail(error)
    else this.#tell(branch, `branch '${name}' failed, the others go on without it: ${error.line}`)
  }

  /** Resolves when a branch may publish: all required ones have everything, and it is its turn. */
  async #turnOf(branch: Branch): Promise<void> {
    const required = this.#required
    await Promise.all([this.#mayPublish, ...required.map((one) => one.settled)])
    const before = branch.required ? required.slice(0, required.indexOf(branch)) : required
    await Promise.all(before.map((one) => one.ended))
    const failed = required.find((one) => one.error !== null)
    if (failed !== undefined) throw failed.error
  }

  /** Waits for something of a branch. One that is not required is given up if that takes too long. */
  async #within(branch: Branch, wait: Promise<void>, ms: number, what: string): Promise<void> {
    if (branch.required) return wait
    await atMost(ms, wait)
    const isPending = Symbol()
    if ((await Promise.race([wait, isPending])) === isPending)
      this.#giveUp(branch, `${what} within ${ms / 1000} seconds`)
  }

  #look(): void {
    const now = performance.now()
    for (const branch of this.#branches) {
      const { isAwaited, moves } = branch
      const isStuck = isAwaited === 'yes' || (isAwaited === 'memory' && this.#context.budget.waiting > 0)
      const since = this.#since.get(branch)
      if (!isStuck || since === undefined || since.moves !== moves) {
        this.#since.set(branch, { moves, at: now })
      } else if (now - since.at >= this.#limitMs && branch.isRunning) {
        this.#giveUp(branch, `took nothing for ${this.#limitMs / 1000} seconds`)
      }
    }
  }

  #giveUp(branch: Branch, why: string): void {
    if (branch.required) {
      this.#tell(branch, `branch '${branch.name}' ${why} and holds the others back, as it is required`)
      return
    }
    this.#tell(branch, `branch '${branch.name}' ${why}, the others go on without it`)
    branch.giveUp(new VmapipeError('FAILED', `it ${why} and was given up`))
  }

  #tell(branch: Branch, text: string): void {
    if (this.#told.has(branch)) return
    this.#told.add(branch)
    this.#context.warn(text)
  }
}

/** Waits for the promise, but not longer than `ms` milliseconds. */
async function atMost(ms: number, wait: Promise<unknown>): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const timeout = new Promise((resolve) => {
    timer = setTimeout(resolve, ms)
  })
  await Promise.race([wait, timeout])
  clearTimeout(timer)
}
