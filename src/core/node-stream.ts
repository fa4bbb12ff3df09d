/**
 * Makes plain streams, of Node or of the web, of a pipeline that is open at one end or both. Bytes are Buffers, all other items are
 * objects. The pipeline runs as usual, between the two ends of the stream.
 */

import { Duplex, type DuplexOptions, Readable, Writable } from 'node:stream'
import type { ReadableStream, WritableStream } from 'node:stream/web'
import * as z from 'zod'
import { asVmapipeError, VmapipeError } from './errors.ts'
import { Handoff } from './handoff.ts'
import { Chunk, type Item, type Kind } from './items.ts'
import { definePipeline, type Pipeline, type RunOptions } from './pipeline.ts'
import { plainBytes } from './plain-bytes.ts'
import type { BoundStage, SinkBody, SourceBody, StageContext } from './stage.ts'

/**
 * Makes a Node stream of a pipeline. The stream is readable if the pipeline's end is open, and writable if its beginning is open. The
 * pipeline runs at once. Errors are VmapipeErrors. The writable side finishes when the sink has made everything durable. Destroying
 * the stream, or aborting `options.signal`, aborts the run.
 *
 * Throws USAGE if the pipeline is open at neither end.
 *
 *     import { createReadStream, createWriteStream } from 'node:fs'
 *     import { pipeline } from 'node:stream/promises'
 *
 *     const compress = toNodeStream(definePipeline([compressor()]))
 *     await pipeline(createReadStream('vm.vma'), compress, createWriteStream('vm.vma.zst'))
 */
export function toNodeStream(pipeline: Pipeline, options: RunOptions = {}): Duplex {
  if (pipeline.input === 'nothing' && pipeline.output === 'nothing') {
    throw new VmapipeError('USAGE', 'the pipeline is open at neither end', { hint: 'run it by its own run()' })
  }
  return new PipelineStream(pipeline, options)
}

/** A pipeline as web streams. Each throws USAGE if the pipeline is not open at that end. */
export interface PipelineStreams {
  /** What leaves the pipeline. Cancelling it aborts the run. */
  readonly readable: ReadableStream
  /** What enters the pipeline. Its `close` resolves when the sink has made everything durable. */
  readonly writable: WritableStream
}

/**
 * The same as web streams, for `pipeThrough`, `pipeTo`, a Response and the like. Bytes are Uint8Arrays.
 *
 *     const { readable } = toWebStream(definePipeline([source({ from: 'vm.vma' }), compressor()]))
 *     let bytes = 0
 *     for await (const part of readable) bytes += part.byteLength
 *     console.log(bytes)
 */
export function toWebStream(pipeline: Pipeline, options: RunOptions = {}): PipelineStreams {
  const stream = toNodeStream(pipeline, options)
  const closed = (end: string) => new VmapipeError('USAGE', `the pipeline is not open at its ${end}`)
  const readable = stream.readable ? Readable.toWeb(stream) : null
  const writable = stream.writable ? Writable.toWeb(stream) : null
  return {
    get readable(): ReadableStream {
      if (readable === null) throw closed('end')
      return readable
    },
    get writable(): WritableStream {
      if (writable === null) throw closed('beginning')
      return writable
    },
  }
}

type Done = (error?: Error | null) => void

class PipelineStream extends Duplex {
  readonly #controller = new AbortController()
  readonly #ended: Promise<Error | null>
  readonly #written = new Handoff<Item>()
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
    if (input !== 'nothing') {
      stages.unshift(this.#end('writable', 'nothing', input, { read: () => this.#written.take() }))
    }
    if (output !== 'nothing') {
      stages.push(this.#end('readable', output, 'nothing', { write: (item: Item) => this.#give(item) }))
    }
    const own = this.#controller.signal
    const signal = options.signal === undefined ? own : AbortSignal.any([options.signal, own])
    this.#ended = definePipeline(stages)
      .run({ ...options, signal })
      .then(
        () => null,
        (error) => asVmapipeError(error),
      )
    this.#ended.then((error) => this.#finish(error))
  }

  override _write(data: Uint8Array | Item, _encoding: string, done: Done): void {
    const item = data instanceof Uint8Array ? new Chunk([data]) : data
    this.#written.give(item).then(() => done(), done)
  }

  override _final(done: Done): void {
    this.#written.give(null).catch(() => {})
    this.#ended.then((error) => done(error))
  }

  override _read(): void {
    this.#drained?.()
    this.#drained = null
  }

  override _destroy(error: Error | null, done: Done): void {
    this.#controller.abort()
    this.#ended.then(() => done(error))
  }

  async #give(item: Item): Promise<void> {
    let flowing = true
    for (const data of item.kind === 'chunk' ? plainBytes(item) : [item]) flowing = this.push(data)
    if (!flowing && !this.destroyed && !this.#controller.signal.aborted)
      await new Promise<void>((resolve) => {
        this.#drained = resolve
      })
  }

  #finish(error: Error | null): void {
    this.#stop(error ?? new VmapipeError('ABORTED', 'the run is over'))
    if (error !== null) this.destroy(error)
    else if (this.readable) this.push(null)
  }

  /** Ends the waits of both ends. What is offered and not taken by now is never taken. */
  #stop(error: unknown): void {
    this.#written.close(error)?.release()
    this.#drained?.()
    this.#drained = null
  }

  /** A stage that is an end of this stream. */
  #end(name: string, input: Kind, output: Kind, body: SourceBody | SinkBody): BoundStage {
    const create = (_: unknown, { signal }: StageContext) => {
      signal.addEventListener('abort', () => this.#stop(signal.reason), { once: true })
      return body
    }
    return { definition: { name, summary: 'an end of a stream', input, output, options: z.any(), create }, options: {} }
  }
}
