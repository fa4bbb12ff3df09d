/** Tells every few seconds how many bytes have passed at its place in the pipeline, and how fast. */

import { dataLength, type Item } from '../core/items.ts'
import { formatBytes, formatRate } from '../core/size.ts'
import { defineStage, type TransformBody, z } from '../core/stage.ts'

const options = z.strictObject({
  every: z.number().positive().max(86_400).default(10).describe('seconds between two lines, 10 if left out'),
  name: z.string().max(100).optional().describe('what the lines begin with, such as "to the tape"'),
})

/**
 * Tells every few seconds how many bytes have passed at its place in the pipeline, and how fast.
 *
 *     await definePipeline([source({ from: 'vm.vma' }), progress({ every: 5 }), sink({ to: 'copy.vma' })]).run()
 */
export const progress = defineStage({
  name: 'progress',
  summary: 'tells every few seconds how many bytes have passed, and how fast',
  input: 'any',
  output: 'same',
  options,
  create: ({ every, name = 'passed' }, { inform, conclude }) =>
    new Progress(every, name, { inform, conclude }, () => performance.now() / 1000),
})

type Tell = (text: string, fields?: object) => void

class Progress implements TransformBody<Item, Item> {
  readonly #every: number
  readonly #name: string
  readonly #say: { inform: Tell; conclude: Tell }
  readonly #now: () => number
  readonly #start: number
  #passed = 0
  #told: { bytes: number; at: number }

  constructor(every: number, name: string, say: { inform: Tell; conclude: Tell }, now: () => number) {
    this.#every = every
    this.#name = name
    this.#say = say
    this.#now = now
    this.#start = now()
    this.#told = { bytes: 0, at: this.#start }
  }

  transform(item: Item, push: (item: Item) => void): void {
    this.#passed += dataLength(item)
    const now = this.#now()
    if (now - this.#told.at >= this.#every) {
      const rate = (this.#passed - this.#told.bytes) / (now - this.#told.at)
      this.#tell(this.#say.inform, rate)
      this.#told = { bytes: this.#passed, at: now }
    }
    push(item)
  }

  flush(): void {
    this.#tell(this.#say.conclude, this.#passed / Math.max(0.001, this.#now() - this.#start))
  }

  #tell(tell: Tell, rate: number): void {
    tell(`${this.#name}: ${formatBytes(this.#passed)}, ${formatRate(rate)}`, {
      passed: { name: this.#name, bytes: this.#passed, rate: Math.round(rate) },
    })
  }
}
