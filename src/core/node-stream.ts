/**
 * Makes a plain Node stream of a pipeline that is open at one end or both. Bytes are Buffers, all other items are objects.
 * A pipeline of pure steps becomes a stream-chain. Any other pipeline is run as usual, between the two ends of a Duplex.
 */

import { Duplex, type DuplexOptions } from 'node:stream'
import chain from 'stream-chain'
import { asVmapipeError } from './errors.ts'
import { Chunk, type Item } from './items.ts'
import { definePipeline, type Pipeline, type RunOptions } from './pipeline.ts'
import { createParts, PipelineRun } from './run.ts'
import { type BoundStage, defineStage, z } from './stage.ts'
import { type AnyStep, guarded, many } from './steps.ts'
import { blame } from './streams.ts'

/**
 * The stream is readable if the pipeline's end is open, and writable if its beginning is open. Errors are VmapipeErrors.
 * The writable side finishes when the sink has made everything durable. Destroying the stream aborts the run.
 */
export function toNodeStream(pipeline: Pipeline, options: RunOptions = {}): Duplex {
  return chainOfSteps(pipeline, options) ?? new PipelineStream(pipeline, options)
}

function chainOfSteps({ stages, input, output }: Pipeline, options: RunOptions): Duplex | null {
  if (input === 'nothing' || output === 'nothing') return null
  const parts = createParts(stages, new PipelineRun(stages.length, options))
  if (!parts.every(({ body }) => typeof body === 'function')) return null
  const steps: AnyStep[] = parts.map(({ name, body, gauge }) =>
    guarded({ step: body as AnyStep, blame: (error) => blame(name, error), gauge }),
  )
  if (input === 'bytes') steps.unshift((data: Uint8Array) => new Chunk([data]))
  if (output === 'bytes') steps.push((chunk: Chunk) => many(unleased(chunk)))
  return chain(steps as never, {
    writableObjectMode: input !== 'bytes',
    readableObjectMode: output !== 'bytes',
  }) as unknown as Duplex
}

/** Copies bytes out of leased memory: the reader of a Node stream may keep its Buffers. */
function unleased(chunk: Chunk): Uint8Array[] {
  const buffers = chunk.leases.length > 0 ? [Buffer.concat(chunk.buffers)] : [...chunk.buffers]
  chunk.release()
  return buffers
}

type Done = (error?: Error | null) => void

class PipelineStream extends Duplex {
  readonly #controller = new AbortController()
  readonly #ended: Promise<Error | null>
  /** The item that was written and not yet taken; null stands for the end. */
  #written: { item: Item | null; taken: Done } | null = null
  #wanted: ((item: Item | null) => void) | null = null
  #drained: (() => void) | null = null

  constructor(pipeline: Pipeline, options: RunOptions) {
    const { input, output } = pipeline
    super({
      readable: output !== 'nothing',
      writable: input !== 'nothing',
      readableObjectMode: output !== 'bytes',
      writableObjectMode: input !== 'bytes',
    } as DuplexOptions)
    const stages = [...pipeline.stages]
    if (input !== 'nothing') stages.unshift(end('node-writable', 'nothing', input, { read: () => this.#next() }))
    if (output !== 'nothing')
      stages.push(end('node-readable', output, 'nothing', { write: (item: Item) => this.#give(item) }))
    const signal =
      options.signal === undefined
        ? this.#controller.signal
        : AbortSignal.any([options.signal, this.#controller.signal])
    this.#ended = definePipeline(stages)
      .run({ ...options, signal })
      .then(
        () => null,
        (error) => asVmapipeError(error),
      )
    this.#ended.then((error) => this.#finish(error))
  }

  override _write(data: Uint8Array | Item, _encoding: string, done: Done): void {
    this.#offer(data instanceof Uint8Array ? new Chunk([data]) : data, done)
  }

  override _final(done: Done): void {
    this.#offer(null, () => {})
    this.#ended.then((error) => done(error))
  }

  override _read(): void {
    this.#drained?.()
    this.#drained = null
  }

  override _destroy(error: Error | null, done: Done): void {
    this.#controller.abort()
    this.#drained?.()
    this.#wanted?.(null)
    this.#ended.then(() => done(error))
  }

  #offer(item: Item | null, taken: Done): void {
    if (this.#wanted === null) {
      this.#written = { item, taken }
      return
    }
    this.#wanted(item)
    this.#wanted = null
    taken()
  }

  #next(): Promise<Item | null> {
    const written = this.#written
    if (written === null)
      return new Promise((resolve) => {
        this.#wanted = resolve
      })
    this.#written = null
    written.taken()
    return Promise.resolve(written.item)
  }

  async #give(item: Item): Promise<void> {
    let flowing = true
    for (const data of item.kind === 'chunk' ? unleased(item) : [item]) flowing = this.push(data)
    if (!flowing && !this.destroyed)
      await new Promise<void>((resolve) => {
        this.#drained = resolve
      })
  }

  #finish(error: Error | null): void {
    if (error !== null) this.destroy(error)
    else if (this.readable) this.push(null)
  }
}

function end(name: string, input: Pipeline['input'], output: Pipeline['output'], body: object): BoundStage {
  const options = z.any()
  return defineStage({ name, summary: 'an end of a Node stream', input, output, options, create: () => body as never })(
    {},
  )
}
