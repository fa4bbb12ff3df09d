import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { Budget } from '../../../src/core/budget.ts'
import { Chunk, totalLength } from '../../../src/core/items.ts'
import { definePipeline } from '../../../src/core/pipeline.ts'
import type { SinkBody, StageContext } from '../../../src/core/stage.ts'
import { ArchiveSink } from '../../../src/stages/sink/archive-sink.ts'
import type { ArchiveTarget } from '../../../src/storage/archive/endpoint.ts'
import { bound, itemsOf } from '../../support/flow.ts'

const timeout = 20_000
const MIB = 1 << 20

interface Write {
  bytes: number
  end(error?: Error): void
}

/** A target whose writes end when the test says so. */
class Slow implements ArchiveTarget {
  readonly depth: number
  readonly writes: Write[] = []
  readonly events: string[] = []
  #wake = () => {}

  constructor(depth: number) {
    this.depth = depth
  }

  async open() {}

  write(buffers: readonly Uint8Array[]): Promise<void> {
    const number = this.writes.length
    return new Promise((resolve, reject) => {
      const end = (error?: Error) => {
        this.events.push(`end ${number}`)
        if (error) reject(error)
        else resolve()
      }
      this.writes.push({ bytes: totalLength(buffers), end })
      this.events.push(`begin ${number}`)
      this.#wake()
    })
  }

  /** Resolves when so many writes have begun. */
  async begun(count: number): Promise<void> {
    while (this.writes.length < count) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
  }

  async settle() {
    this.events.push('settle')
  }

  async finish() {
    this.events.push('finish')
  }

  async abort() {}
}

function sinkTo(target: ArchiveTarget) {
  return bound({
    name: 'to',
    input: 'bytes',
    output: 'nothing',
    create: (_, context: StageContext): SinkBody<Chunk> => new ArchiveSink(target, context),
  })
}

/** Chunks of these sizes, in leased memory. */
async function chunksOf(budget: Budget, sizes: readonly number[]): Promise<Chunk[]> {
  return Promise.all(
    sizes.map(async (size) => {
      const slab = await budget.take(size)
      return new Chunk([slab.buffer], [slab])
    }),
  )
}

async function running(target: Slow, sizes: readonly number[]) {
  const budget = new Budget(64 * MIB)
  const chunks = await chunksOf(budget, sizes)
  const run = definePipeline([itemsOf('bytes', chunks), sinkTo(target)]).run()
  run.catch(() => {})
  return { run, budget }
}

describe('a sink of archives', { timeout }, () => {
  test('begins the next writes while the last one is under way, and publishes when all have ended', async () => {
    const target = new Slow(2)
    const { run, budget } = await running(target, [2 * MIB, 2 * MIB, 2 * MIB])
    await target.begun(2)
    assert.deepEqual(target.events, ['begin 0', 'begin 1'])
    target.writes[1].end()
    await target.begun(3)
    target.writes[2].end()
    await new Promise(setImmediate)
    assert.ok(!target.events.includes('settle'))
    target.writes[0].end()
    await run
    assert.deepEqual(target.events.slice(-3), ['end 0', 'settle', 'finish'])
    assert.equal(budget.used, 0)
  })

  test('takes the next chunks while a target writes that takes one at a time, and writes small ones together', async () => {
    const target = new Slow(1)
    const { run, budget } = await running(target, [1000, 1000, 1000, 1000])
    await target.begun(1)
    await new Promise(setImmediate)
    assert.equal(target.writes.length, 1)
    target.writes[0].end()
    await target.begun(2)
    target.writes[1].end()
    await run
    assert.deepEqual(
      target.writes.map(({ bytes }) => bytes),
      [1000, 3000],
    )
    assert.equal(budget.used, 0)
  })

  test('holds a bounded number of bytes', async () => {
    const target = new Slow(2)
    const { run, budget } = await running(
      target,
      Array.from({ length: 40 }, () => MIB),
    )
    await target.begun(2)
    for (let at = 0; at < target.writes.length; at++) {
      await new Promise(setImmediate)
      assert.ok(target.writes.slice(at).length <= 2)
      assert.ok(target.writes[at].bytes <= 2 * MIB)
      target.writes[at].end()
      if (budget.used > 2 * MIB) await target.begun(at + 2)
    }
    await run
    assert.equal(budget.used, 0)
  })

  test('tells the earliest write that failed, begins no other, and waits for those under way', async () => {
    const target = new Slow(2)
    const { run, budget } = await running(target, [2 * MIB, 2 * MIB, 2 * MIB])
    await target.begun(2)
    target.writes[1].end(new Error('the second'))
    await new Promise(setImmediate)
    target.writes[0].end(new Error('the first'))
    await assert.rejects(run, { stage: 'to', message: 'the first' })
    assert.ok(!target.events.includes('finish'))
    assert.equal(target.writes.length, 2)
    assert.ok(budget.used <= 2 * MIB)
  })

  test('fails at once, also if nothing more comes', async () => {
    const target = new Slow(2)
    const waiting = bound({
      name: 'waiting',
      input: 'nothing',
      output: 'bytes',
      create: (_, { signal }: StageContext) => {
        const chunks = [new Chunk([Buffer.alloc(10)])]
        const aborted = new Promise((resolve) => signal.addEventListener('abort', () => resolve(null)))
        return { read: async () => chunks.pop() ?? aborted }
      },
    })
    const run = definePipeline([waiting, sinkTo(target)]).run()
    run.catch(() => {})
    await target.begun(1)
    target.writes[0].end(new Error('no room'))
    await assert.rejects(run, { stage: 'to', message: 'no room' })
  })
})
