/**
 * Bodies of stages that are streams or generators of others. Each has `write` and `final` for what it takes, and `read` for what it
 * gives, which run at the same time.
 */

import type { Duplex } from 'node:stream'
import { VmapipeError } from './errors.ts'
import { Handoff } from './handoff.ts'
import type { Item } from './items.ts'
import { asItem, plainBytes } from './plain-bytes.ts'

/** A body that takes and gives by itself. */
export interface DuplexBody {
  write(item: Item): Promise<void>
  final(): Promise<void>
  read(): Promise<Item | null>
  /** Registers the function that is called with an error when it happens, which may be between two hooks. */
  listen?(report: Report): void
  /** Ends the waits of all hooks. Called at once if the run ends early, before `close`. */
  interrupt(): void
  close(error: Error | null): Promise<void>
}

export type Report = (error: unknown) => void

/** What the waits of an interrupted hook end with. */
export const aborted = () => new VmapipeError('ABORTED', 'aborted')

/** The body of a Node stream, or a streamx stream. A stream that is not in object mode takes and gives bytes. */
export class NodeStreamBody implements DuplexBody {
  readonly #stream: Duplex
  readonly #items: AsyncIterator<unknown> | null
  readonly #closed: Promise<void>
  #failure: { error: unknown } | null = null
  #report: Report = () => {}
  #isEnding = false
  #wake: (() => void) | null = null

  constructor(stream: Duplex) {
    this.#stream = stream
    this.#items = isReadable(stream) ? (stream as AsyncIterable<unknown>)[Symbol.asyncIterator]() : null
    this.#closed = new Promise((resolve) => stream.once('close', resolve))
    stream.on('error', (error) => {
      this.#failure ??= { error }
      if (!this.#isEnding) this.#report(error)
      this.#wake?.()
    })
    for (const event of ['finish', 'close', 'drain']) stream.on(event, () => this.#wake?.())
  }

  listen(report: Report): void {
    this.#report = report
    if (this.#failure !== null) report(this.#failure.error)
  }

  async write(item: Item): Promise<void> {
    for (const data of this.#dataOf(item)) {
      this.#refuseFailed()
      let isTaken = false
      const taken = () => {
        isTaken = true
        this.#wake?.()
      }
      // Waits for each write of Node's streams, so that no items gather in them. streamx knows no such callback.
      if (this.#isOfNode) this.#stream.write(data, taken)
      else if (this.#stream.write(data)) continue
      else this.#stream.once('drain', taken)
      await this.#until(() => isTaken)
    }
  }

  async final(): Promise<void> {
    this.#refuseFailed()
    let isFinished = false
    const finished = () => {
      isFinished = true
    }
    this.#stream.once('finish', finished)
    this.#stream.end()
    await this.#until(() => isFinished)
  }

  async read(): Promise<Item | null> {
    try {
      const { done, value } = await this.#items!.next()
      return done ? null : asItem(value)
    } catch (error) {
      throw this.#isEnding ? aborted() : error
    }
  }

  interrupt(): void {
    this.#isEnding = true
    this.#stream.destroy()
    this.#wake?.()
  }

  async close(): Promise<void> {
    this.#isEnding = true
    if (!this.#stream.closed) this.#stream.destroy()
    if (!this.#stream.closed) await this.#closed
  }

  #dataOf(item: Item): readonly unknown[] {
    // streamx streams have no mode: they take items.
    if (this.#stream.writableObjectMode !== false) return [item]
    if (item.kind === 'chunk') return plainBytes(item)
    item.release()
    const hint = 'make it with objectMode: true, which takes and gives items'
    throw new VmapipeError('STAGE', `a stream of bytes cannot take items of kind ${item.kind}`, { hint })
  }

  get #isOfNode(): boolean {
    return this.#stream.writableObjectMode !== undefined
  }

  /** Waits for an event. Throws if the stream fails or closes before. */
  async #until(hasCome: () => boolean): Promise<void> {
    while (!hasCome()) {
      this.#refuseFailed()
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
      this.#wake = null
    }
  }

  #refuseFailed(): void {
    if (this.#isEnding) throw aborted()
    if (this.#failure !== null) throw this.#failure.error
    if (this.#stream.destroyed) throw new VmapipeError('FAILED', 'the stream was closed before it took everything')
  }
}

/** The body of an async generator function. Items that it leaves when it returns are released. */
export class GeneratorBody implements DuplexBody {
  readonly #input = new Handoff<Item>()
  readonly #output: AsyncIterator<unknown>

  constructor(generate: (items: AsyncIterable<Item>) => AsyncIterable<unknown>) {
    this.#output = generate(taken(this.#input))[Symbol.asyncIterator]()
  }

  async write(item: Item): Promise<void> {
    if (this.#input.isDone) item.release()
    else await this.#input.give(item)
  }

  async final(): Promise<void> {
    // Nobody waits for the end to be taken: the generator may have returned already.
    if (!this.#input.isDone) this.#input.give(null).catch(() => {})
  }

  async read(): Promise<Item | null> {
    const { done, value } = await this.#output.next()
    if (!done) return asItem(value)
    this.#input.stop()?.release()
    return null
  }

  interrupt(): void {
    this.#input.close(aborted())?.release()
  }

  async close(): Promise<void> {
    this.interrupt()
    await this.#output.return?.()
  }
}

async function* taken(input: Handoff<Item>): AsyncGenerator<Item> {
  for (let item = await input.take(); item !== null; item = await input.take()) yield item
}

function isReadable(stream: Duplex): boolean {
  return typeof stream.read === 'function' && stream.readable !== false
}
