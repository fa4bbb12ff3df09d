import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { Chunk, type Item } from '../../src/core/items.ts'
import { definePipeline } from '../../src/core/pipeline.ts'
import { type BoundStage, defineStage, type Push, type StageContext, z } from '../../src/core/stage.ts'
import { delay } from '../../src/stages/delay.ts'
import { tee } from '../../src/stages/tee.ts'
import { bound, collect } from '../support/flow.ts'

const timeout = 60_000
const COUNT = 30
const MS = 10

function leasing(bytes: number): BoundStage {
  let given = 0
  return bound({
    name: 'leasing',
    input: 'nothing',
    output: 'bytes',
    create: (_, { budget }: StageContext) => ({
      read: async () => {
        if (given++ === COUNT) return null
        const slab = await budget.take(bytes)
        return new Chunk([slab.buffer], [slab])
      },
    }),
  })
}

/** Notes when each stage begins and ends its work on an item. */
class Notes {
  readonly #working = new Set<string>()
  readonly #ends = new Map<string, number>()
  most = 0
  /** How often a stage began an item while the last stage had not ended the one two places before it. */
  ahead = 0

  async work(name: string, last: string): Promise<void> {
    this.#working.add(name)
    this.most = Math.max(this.most, this.#working.size)
    if (name !== last && (this.#ends.get(name) ?? 0) > (this.#ends.get(last) ?? 0)) this.ahead++
    await sleep(MS)
    this.#working.delete(name)
    this.#ends.set(name, (this.#ends.get(name) ?? 0) + 1)
  }
}

const forms: Record<string, (work: () => Promise<void>) => unknown> = {
  'steps that promise': (work) => (item: Item) => work().then(() => item),
  'async generators': (work) =>
    async function* (item: Item) {
      await work()
      yield item
    },
  transforms: (work) => ({
    async transform(item: Item, push: Push<Item>) {
      await work()
      push(item)
    },
  }),
}

describe('stages work at the same time', { timeout }, () => {
  for (const [size, bytes] of [['small', 1000] as const, ['larger than a queue', 4 << 20] as const]) {
    for (const [form, body] of Object.entries(forms)) {
      test(`three ${form}, with ${size} items`, async () => {
        const notes = new Notes()
        const stage = (name: string) =>
          bound({ name, input: 'bytes', output: 'bytes', create: () => body(() => notes.work(name, 'c')) })
        const sink = collect('bytes', [], { write: (item) => item.release() })
        const { leaked } = await definePipeline([leasing(bytes), stage('a'), stage('b'), stage('c'), sink]).run()
        assert.equal(leaked, 0)
        assert.equal(notes.most, 3)
        assert.ok(notes.ahead > COUNT, `${notes.ahead}`)
      })
    }
  }

  test('so three delays of 10 ms take little longer than one', async () => {
    const sink = () => collect('bytes', [], { write: (item) => item.release() })
    const timed = async (stages: BoundStage[]) => {
      const { seconds } = await definePipeline([leasing(1 << 20), ...stages, sink()]).run()
      return seconds
    }
    const one = await timed([delay({ ms: MS })])
    const three = await timed([delay({ ms: MS }), delay({ ms: MS }), delay({ ms: MS })])
    assert.ok(three < one * 2, `${three} against ${one}`)
  })

  test('with a budget of three items, and with a user who holds two of them back', async () => {
    const kept: Item[] = []
    const late = defineStage({
      name: 'late',
      summary: 'gives the item before the last one',
      input: 'bytes',
      output: 'bytes',
      options: z.strictObject({}),
      create: () => ({
        async transform(item: Chunk, push: Push<Chunk>) {
          kept.push(item)
          await sleep(1)
          if (kept.length > 2) push(kept.shift() as Chunk)
        },
        flush(push: Push<Chunk>) {
          for (const item of kept.splice(0)) push(item as Chunk)
        },
      }),
    })
    const branches = ['near', 'far'].map((name) => ({
      name,
      stages: [delay({ ms: 2 }), collect('bytes', [], { write: (item) => item.release() })],
    }))
    const { leaked } = await definePipeline([leasing(5 << 20), delay({ ms: 1 }), late({}), tee({ branches })]).run({
      buffer: 16 << 20,
    })
    assert.equal(leaked, 0)
  })
})
