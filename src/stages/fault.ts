/**
 * Makes a pipeline fail at a given byte or item: with an error, by hanging, or by ending too early. It is for people who test how their
 * own stages behave if another one fails.
 */

import { VmapipeError } from '../core/errors.ts'
import { Chunk, dataLength, type Item } from '../core/items.ts'
import { sleepUntilAborted } from '../core/long-sleep.ts'
import { byteSize } from '../core/size-option.ts'
import { defineStage, type TransformBody, z } from '../core/stage.ts'

const options = z
  .strictObject({
    mode: z
      .enum(['error', 'hang', 'short'])
      .default('error')
      .describe('error: ends the run; hang: gives nothing more; short: drops the rest, as if the input had ended'),
    'at-byte': byteSize({ example: '10MiB' })
      .optional()
      .describe('how many bytes of data pass before it, such as 10MiB'),
    'at-item': z.int().min(0).optional().describe('how many items pass before it'),
    code: z
      .enum(['FAILED', 'STAGE', 'DAMAGED', 'INCOMPLETE', 'ABORTED'])
      .default('FAILED')
      .describe('the code of the error, which decides the exit code'),
    message: z.string().default('a fault that was asked for').describe('the message of the error'),
  })
  .refine((given) => (given['at-byte'] === undefined) !== (given['at-item'] === undefined), {
    error: 'expected at-byte or at-item, and not both',
  })

/**
 * Fails, hangs or ends early at a given place, to test other stages. Errors: the code that it is told.
 *
 *     await definePipeline([source({ from: 'vm.vma' }), fault({ 'at-byte': '10MiB' }), sink({ to: 'copy.vma' })]).run()
 */
export const fault = defineStage({
  name: 'fault',
  summary: 'fails, hangs or ends too early at a given byte or item, to test other stages',
  input: 'any',
  output: 'same',
  options,
  paces: true,
  create: (given, { signal }) => new Fault(given, signal),
})

class Fault implements TransformBody<Item, Item> {
  readonly #options: z.output<typeof options>
  readonly #signal: AbortSignal
  #bytes = 0
  #items = 0
  #isShort = false

  constructor(given: z.output<typeof options>, signal: AbortSignal) {
    this.#options = given
    this.#signal = signal
  }

  async transform(item: Item, push: (item: Item) => void): Promise<void> {
    const left = (this.#options['at-byte'] ?? Number.POSITIVE_INFINITY) - this.#bytes
    const length = dataLength(item)
    if (!this.#isShort && length <= left && this.#items !== this.#options['at-item']) {
      this.#bytes += length
      this.#items++
      push(item)
      return
    }
    if (!this.#isShort && item.kind === 'chunk' && left > 0 && left < length) push(beginning(item, left))
    else item.release()
    await this.#fail()
  }

  /** The input ended exactly at the byte or the item: the fault still happens. */
  async flush(): Promise<void> {
    if (this.#bytes === this.#options['at-byte'] || this.#items === this.#options['at-item']) await this.#fail()
  }

  async #fail(): Promise<void> {
    const { mode, code, message } = this.#options
    if (mode === 'short') this.#isShort = true
    else if (mode === 'hang') await sleepUntilAborted(Number.POSITIVE_INFINITY, this.#signal)
    else throw new VmapipeError(code, message)
  }
}

/** The first `length` bytes of a chunk, with its leases. */
function beginning({ buffers, leases }: Chunk, length: number): Chunk {
  const kept: Uint8Array[] = []
  for (let left = length, index = 0; left > 0; index++) {
    const part = buffers[index].subarray(0, left)
    kept.push(part)
    left -= part.byteLength
  }
  return new Chunk(kept, leases)
}
