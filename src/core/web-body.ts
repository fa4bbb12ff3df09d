/** The body of a stage that is a pair of web streams. */

import { aborted, type DuplexBody, type Report } from './duplex-body.ts'
import type { Item } from './items.ts'
import { asItem, plainBytes } from './plain-bytes.ts'

interface Reader {
  readonly closed: Promise<unknown>
  read(): Promise<{ done: boolean; value?: unknown }>
  cancel(reason?: unknown): Promise<void>
}

interface Writer {
  readonly closed: Promise<unknown>
  write(chunk: never): Promise<void>
  close(): Promise<void>
  abort(reason?: unknown): Promise<void>
}

/** A TransformStream of Node or of the browsers' types, or two streams that belong together. */
export interface WebStreamPair {
  readonly readable: { getReader(): Reader; readonly locked: boolean }
  readonly writable: { getWriter(): Writer; readonly locked: boolean }
}

export function isPair(stage: unknown): stage is WebStreamPair {
  const { readable, writable } = (stage ?? {}) as Partial<WebStreamPair>
  return typeof readable?.getReader === 'function' && typeof writable?.getWriter === 'function'
}

/** The body of a web TransformStream, or of any pair of web streams. Where bytes flow it takes and gives Uint8Arrays, otherwise items. */
export class WebStreamBody implements DuplexBody {
  readonly #writer: Writer
  readonly #reader: Reader
  #isEnding = false

  constructor({ readable, writable }: WebStreamPair) {
    this.#writer = writable.getWriter()
    this.#reader = readable.getReader()
    this.listen(() => {})
  }

  listen(report: Report): void {
    for (const { closed } of [this.#writer, this.#reader]) closed.catch((error) => this.#isEnding || report(error))
  }

  async write(item: Item): Promise<void> {
    for (const data of item.kind === 'chunk' ? plainBytes(item) : [item]) {
      await this.#unlessEnding(this.#writer.write(data as never))
    }
  }

  async final(): Promise<void> {
    await this.#unlessEnding(this.#writer.close())
  }

  async read(): Promise<Item | null> {
    const { done, value } = await this.#unlessEnding(this.#reader.read())
    return done ? null : asItem(value)
  }

  interrupt(): void {
    void this.close()
  }

  async close(): Promise<void> {
    this.#isEnding = true
    const reason = aborted()
    await Promise.allSettled([this.#writer.abort(reason), this.#reader.cancel(reason)])
  }

  async #unlessEnding<T>(waiting: Promise<T>): Promise<T> {
    try {
      return await waiting
    } catch (error) {
      throw this.#isEnding ? aborted() : error
    }
  }
}
