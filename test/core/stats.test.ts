import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { Chunk, type Item } from '../../src/core/items.ts'
import { definePipeline } from '../../src/core/pipeline.ts'
import type { BoundStage, Push, StageContext } from '../../src/core/stage.ts'
import type { RunStats } from '../../src/core/stats.ts'
import { tee } from '../../src/stages/tee.ts'
import { bound } from '../support/flow.ts'
import { lateness } from '../support/lateness.ts'

const timeout = 60_000
const PIECE = 256 << 10
const COUNT = 40

/** Spends `ms` of the processor. */
function spin(ms: number): void {
  const end = performance.now() + ms
  while (performance.now() < end);
}

function sourceOf(ms: number): BoundStage {
  let given = 0
  return bound({
    name: 'reader',
    input: 'nothing',
    output: 'bytes',
    create: (_, { budget }: StageContext) => ({
      read: async () => {
        if (given++ === COUNT) return null
        const slab = await budget.take(PIECE)
        if (ms > 0) await sleep(ms)
        return new Chunk([slab.buffer], [slab])
      },
    }),
  })
}

const stepOf = (name: string, ms: number) =>
  bound({ name, input: 'bytes', output: 'bytes', create: () => (item: Item) => (spin(ms), item) })

const slowStepOf = (name: string, ms: number) =>
  bound({ name, input: 'bytes', output: 'bytes', create: () => async (item: Item) => (await sleep(ms), item) })

const transformOf = (name: string, ms: number) =>
  bound({
    name,
    input: 'bytes',
    output: 'bytes',
    create: () => ({
      async transform(item: Item, push: Push<Item>) {
        if (ms > 0) await sleep(ms)
        push(item)
      },
    }),
  })

const sinkOf = (ms: number) =>
  bound({
    name: 'writer',
    input: 'bytes',
    output: 'nothing',
    create: () => ({
      async write(item: Item) {
        if (ms > 0) await sleep(ms)
        item.release()
      },
    }),
  })

async function statsOf(stages: BoundStage[]): Promise<RunStats> {
  let last: RunStats | null = null
  await definePipeline(stages).run({
    onStats: (stats) => {
      last = stats
    },
  })
  assert.ok(last !== null)
  return last
}

describe('the statistics of a run', { timeout }, () => {
  const cases: { [how: string]: { stages: () => BoundStage[]; slowest: string; kind: string } } = {
    'a slow source': { stages: () => [sourceOf(5), stepOf('a', 0), sinkOf(0)], slowest: 'reader', kind: 'source' },
    'a step that computes': {
      stages: () => [sourceOf(0), stepOf('a', 0), stepOf('b', 5), stepOf('c', 0), sinkOf(0)],
      slowest: 'b',
      kind: 'processor',
    },
    'a step that waits': {
      stages: () => [sourceOf(0), stepOf('a', 0), slowStepOf('b', 5), stepOf('c', 0), sinkOf(0)],
      slowest: 'b',
      kind: 'processor',
    },
    'a slow transform': {
      stages: () => [sourceOf(0), transformOf('a', 0), transformOf('b', 5), transformOf('c', 0), sinkOf(0)],
      slowest: 'b',
      kind: 'processor',
    },
    'a slow sink': {
      stages: () => [sourceOf(0), stepOf('a', 0), transformOf('b', 0), sinkOf(5)],
      slowest: 'writer',
      kind: 'target',
    },
  }
  for (const [how, { stages, slowest, kind }] of Object.entries(cases)) {
    test(`name ${how}; the stages before it wait for it, and those behind it for input`, async () => {
      const { elapsed, stages: figures, bottleneck, ended } = await statsOf(stages())
      assert.ok(ended)
      assert.equal(bottleneck?.stage, slowest)
      assert.equal(bottleneck?.kind, kind)
      assert.ok(bottleneck!.share > 0.7, `${bottleneck!.share}`)
      const at = figures.findIndex(({ name }) => name === slowest)
      for (const [index, stage] of figures.entries()) {
        const { name, working, waitingForInput, waitingForNext } = stage
        const told = `${name}: ${JSON.stringify(stage)} of ${elapsed}`
        assert.equal(stage.items, COUNT, told)
        assert.ok(working + waitingForInput + waitingForNext <= elapsed * 1.05, told)
        // A stage has an item or two in its queue before it waits, and gives up to 1 MiB before it is held back.
        if (index < at) assert.ok(waitingForNext > elapsed * 0.4 && waitingForNext > waitingForInput, told)
        if (index > at) assert.ok(waitingForInput > elapsed * 0.6, told)
      }
    })
  }

  test('count items and bytes, also between steps, and the memory of a stage', async () => {
    const half = bound({
      name: 'half',
      input: 'bytes',
      output: 'bytes',
      create: () => (item: Chunk) => new Chunk([item.buffers[0].subarray(0, PIECE / 2)], item.leases),
    })
    const { stages } = await statsOf([sourceOf(0), half, stepOf('next', 0), sinkOf(1)])
    assert.deepEqual(
      stages.map(({ bytesIn, bytesOut }) => [bytesIn / PIECE, bytesOut / PIECE]),
      [
        [0, COUNT],
        [COUNT, COUNT / 2],
        [COUNT / 2, COUNT / 2],
        [COUNT / 2, 0],
      ],
    )
    for (const { held, mostHeld } of stages) {
      assert.equal(held, 0)
      assert.ok(mostHeld <= 6 << 20, `${mostHeld}`)
    }
    assert.ok(stages.at(-1)!.mostHeld >= PIECE)
  })

  test('say that a source waits for memory that a slow stage holds', async () => {
    const late = lateness()
    const keeper = bound({
      name: 'keeper',
      input: 'bytes',
      output: 'bytes',
      create: () => {
        const kept: Item[] = []
        return {
          async transform(item: Item) {
            kept.push(item)
            if (kept.length < 4) return
            await sleep(20)
            for (const one of kept.splice(0)) one.release()
          },
        }
      },
    })
    let last: RunStats | null = null
    await definePipeline([sourceOf(0), keeper, sinkOf(0)]).run({
      buffer: 4 * PIECE,
      onStats: (stats) => {
        last = stats
      },
    })
    const { elapsed, stages, bottleneck } = last!
    assert.equal(bottleneck?.stage, 'keeper')
    assert.ok(stages[0].waitingForNext + late() / 1000 > elapsed * 0.6, JSON.stringify(stages[0]))
    assert.equal(stages[1].mostHeld, 4 * PIECE)
  })

  test('have the stages of branches, and name the slowest of these', async () => {
    const late = lateness()
    const named = (stage: BoundStage, name: string) => ({ ...stage, definition: { ...stage.definition, name } })
    const branches = [
      { name: 'near', stages: [stepOf('a', 0), named(sinkOf(0), 'fast')] },
      { name: 'far', stages: [named(sinkOf(5), 'slow')] },
    ]
    const { stages, bottleneck } = await statsOf([sourceOf(0), tee({ branches })])
    assert.deepEqual(
      stages.map(({ name }) => name),
      ['reader', 'tee', 'near/a', 'near/fast', 'far/slow'],
    )
    assert.equal(bottleneck?.stage, 'far/slow')
    assert.equal(bottleneck?.kind, 'target')
    assert.equal(stages.at(-1)!.items, COUNT)
    assert.ok(stages[0].waitingForNext + late() / 1000 > stages[0].working, JSON.stringify(stages[0]))
  })

  test('are told when the run fails too', async () => {
    const broken = bound({
      name: 'broken',
      input: 'bytes',
      output: 'bytes',
      create: () => () => {
        throw new Error('broken')
      },
    })
    let last: RunStats | null = null
    const run = definePipeline([sourceOf(0), broken, sinkOf(0)]).run({
      onStats: (stats) => {
        last = stats
      },
    })
    await assert.rejects(run, { message: 'broken' })
    assert.ok(last!.ended)
  })
})
