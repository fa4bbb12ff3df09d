/** One branch of `tee`: it is given one item at a time, runs its stages on them, and may end before the others. */

import { asVmapipeError, type VmapipeError } from '../../core/errors.ts'
import type { Item, Kind } from '../../core/items.ts'
import { type BoundStage, defineStage, type StageContext, z } from '../../core/stage.ts'
import { SharedItems } from './shared-items.ts'

interface BranchOptions {
  name: string
  required: boolean
  stages: readonly BoundStage[]
}

export class Branch {
  readonly name: string
  readonly required: boolean
  readonly #items = new SharedItems()
  readonly #controller = new AbortController()
  readonly #run: (signal: AbortSignal) => Promise<void>
  /** The item that the branch is to take next, or null for the end. */
  #offered: { item: Item | null; taken: () => void } | null = null
  #wanted: ((item: Item | null) => void) | null = null
  #taken = 0
  #error: VmapipeError | null = null
  #isOver = false
  #open: () => void = () => {}
  #settle: () => void = () => {}
  #decide: () => void = () => {}
  /** Resolves when all stages are open, or the branch has ended. */
  readonly opened = new Promise<void>((resolve) => {
    this.#open = resolve
  })
  /** Resolves when the branch has made all of its items durable, but has published nothing, or when it has ended. */
  readonly settled = new Promise<void>((resolve) => {
    this.#settle = resolve
  })
  /** Resolves when the branch is complete, has failed or was given up. A stage of it may still hang. */
  readonly decided = new Promise<void>((resolve) => {
    this.#decide = resolve
  })
  /** Resolves when all stages are closed. */
  ended: Promise<void> = Promise.resolve()

  /** `mayPublish` resolves when it is the branch's turn to publish. */
  constructor(options: BranchOptions, context: StageContext, mayPublish: (branch: Branch) => Promise<void>) {
    this.name = options.name
    this.required = options.required
    const source = sourceOf('bytes', () => this.#next())
    this.#run = context.branch(options.name, [source, ...options.stages], async () => {
      this.#settle()
      await this.#unlessAborted(mayPublish(this))
    })
  }

  /** The error by which it has ended, or null. */
  get error(): VmapipeError | null {
    return this.#error
  }

  get isRunning(): boolean {
    return !this.#isOver && this.#error === null
  }

  /** Whether others wait for the branch, or would if they needed its memory. */
  get isAwaited(): 'yes' | 'memory' | 'no' {
    if (this.#offered !== null) return 'yes'
    return this.#items.holdsAny ? 'memory' : 'no'
  }

  /** A number that grows as long as the branch takes items or gives their memory back. */
  get moves(): number {
    return this.#taken + this.#items.released
  }

  start(onEnd: () => void): void {
    const end = (error: unknown) => {
      if (error !== null) this.#error ??= asVmapipeError(error)
      this.#isOver = true
      this.#items.end()
      this.#offered?.taken()
      this.#open()
      this.#settle()
      this.#decide()
      onEnd()
    }
    this.ended = this.#run(this.#controller.signal).then(() => end(null), end)
  }

  share(item: Item): Item {
    return this.#items.share(item)
  }

  /** Resolves when the branch has taken the item (null is the end of the input), or has ended. */
  give(item: Item | null): Promise<void> {
    if (!this.isRunning) {
      this.#items.end()
      return Promise.resolve()
    }
    this.#taken++
    const wanted = this.#wanted
    this.#wanted = null
    if (wanted !== null) {
      wanted(item)
      return Promise.resolve()
    }
    return new Promise((resolve) => {
      const taken = () => {
        this.#offered = null
        this.#taken++
        resolve()
      }
      this.#offered = { item, taken }
    })
  }

  /** Ends the branch by this error. Its memory is free at once, even if one of its stages hangs. */
  giveUp(error: VmapipeError): void {
    if (!this.isRunning) return
    this.#error = error
    this.#controller.abort(error)
    this.#items.end()
    this.#offered?.taken()
    this.#open()
    this.#settle()
    this.#decide()
  }

  #next(): Promise<Item | null> {
    this.#open()
    const offered = this.#offered
    if (offered !== null) {
      offered.taken()
      return Promise.resolve(offered.item)
    }
    return this.#unlessAborted(
      new Promise((resolve) => {
        this.#wanted = resolve
      }),
    )
  }

  #unlessAborted<T>(wait: Promise<T>): Promise<T> {
    const { signal } = this.#controller
    return new Promise((resolve, reject) => {
      const onAbort = () => reject(signal.reason)
      if (signal.aborted) onAbort()
      signal.addEventListener('abort', onAbort, { once: true })
      wait.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort))
    })
  }
}

/** The stage that a branch begins with. */
export function sourceOf(output: Exclude<Kind, 'nothing'>, read: () => Promise<Item | null>): BoundStage {
  const create = () => ({ read }) as never
  return defineStage({ name: 'tee', summary: '', input: 'nothing', output, options: z.any(), create })({})
}
