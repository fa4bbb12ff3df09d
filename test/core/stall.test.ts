import assert from 'node:assert/strict'
import { PassThrough, Writable } from 'node:stream'
import { describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { Chunk, type Item } from '../../src/core/items.ts'
import { definePipeline } from '../../src/core/pipeline.ts'
import type { BoundStage, Push, StageContext } from '../../src/core/stage.ts'
import { none } from '../../src/core/steps.ts'
import { compressor } from '../../src/stages/compressor.ts'
import { rateLimit } from '../../src/stages/rate-limit.ts'
import { sink } from '../../src/stages/sink.ts'
import { source } from '../../src/stages/source.ts'
import { tee } from '../../src/stages/tee.ts'
import { bound, collect } from '../support/flow.ts'

const timeout = 60_000
const MIB = 1 << 20
const BUFFER = 16 * MIB
const STALL_SECONDS = 0.2

/** A source of `count` pieces of leased memory, of 1 MiB each. */
function leasing(count: number): BoundStage {
  let given = 0
  return bound({
    name: 'leasing',
    input: 'nothing',
    output: 'bytes',
    create: (_, { budget }: StageContext) => ({
      read: async () => {
        if (given++ === count) return null
        const slab = await budget.take(MIB)
        slab.buffer.fill(given)
        return new Chunk([slab.buffer], [slab])
      },
    }),
  })
}

const release = { write: (item: Item) => item.release() }

/** Runs the stages until so many warnings have come and a moment more, or for a time in which one would have come. Gives the warnings. */
async function warningsOf(stages: readonly BoundStage[], wanted: number): Promise<string[]> {
  const warnings: string[] = []
  const { promise: told, resolve } = Promise.withResolvers<void>()
  const controller = new AbortController()
  const run = definePipeline(stages as never).run({
    buffer: BUFFER,
    stallSeconds: STALL_SECONDS,
    signal: controller.signal,
    warn: (message) => {
      if (warnings.push(message) === wanted) resolve()
    },
  })
  run.catch(() => {})
  await Promise.race([run, wanted > 0 ? told.then(() => sleep(2 * STALL_SECONDS * 1000)) : sleep(1200)])
  controller.abort()
  await run.catch(() => {})
  return warnings
}

describe('a stall', { timeout }, () => {
  test('is told once, with the step that keeps every lease', async () => {
    const drop = bound({ name: 'drop', input: 'bytes', output: 'bytes', create: () => () => none })
    const before = bound({ name: 'before', input: 'bytes', output: 'bytes', create: () => (item: Item) => item })
    const after = bound({ name: 'after', input: 'bytes', output: 'bytes', create: () => (item: Item) => item })
    const warnings = await warningsOf([leasing(100), before, drop, after, collect('bytes', [], release)], 1)
    assert.equal(warnings.length, 1, warnings.join('\n'))
    assert.match(warnings[0], /^stage drop holds 16\.0 MiB and takes nothing for \d+ seconds/)
  })

  test('is told with the transform that keeps every lease', async () => {
    const drop = bound({ name: 'drop', input: 'bytes', output: 'bytes', create: () => ({ transform() {} }) })
    const warnings = await warningsOf([leasing(100), drop, collect('bytes', [], release)], 1)
    assert.equal(warnings.length, 1, warnings.join('\n'))
    assert.match(warnings[0], /^stage drop holds 16\.0 MiB and takes nothing/)
  })

  test('is told with the transform that waits for more memory than it leaves', async () => {
    const greedy = bound({
      name: 'greedy',
      input: 'bytes',
      output: 'bytes',
      create: (_, { budget }: StageContext) => ({
        async transform(item: Item, push: Push<Item>) {
          await budget.take(8 * MIB)
          push(item)
        },
      }),
    })
    const [warning] = await warningsOf([leasing(100), greedy, collect('bytes', [], release)], 1)
    assert.match(warning, /^stage greedy holds \d+\.0 MiB and (takes|gives) nothing/)
  })

  for (const [how, { stages, told }] of Object.entries({
    'straight from the source': {
      stages: [],
      told: /^stage sink \(a stream\) holds 3\.0 MiB and takes nothing for \d+ seconds$/,
    },
    'behind a compressor': {
      stages: [compressor({ method: 'zstd', frame: MIB })],
      told: /^stage sink \(a stream\) holds .* MiB and takes nothing for \d+ seconds; .* MiB wait before it$/,
    },
  })) {
    test(`is told with the sink whose storage hangs, ${how}`, async () => {
      const hung = new Writable({ write() {} })
      const warnings = await warningsOf([leasing(100), ...stages, sink({ to: hung })], 1)
      assert.equal(warnings.length, 1, warnings.join('\n'))
      assert.match(warnings[0], told)
    })
  }

  test('is told with the branch whose sink hangs', async () => {
    const hung = new Writable({ write() {} })
    const branches = [
      { name: 'near', stages: [collect('bytes', [], release)] },
      { name: 'far', stages: [sink({ to: hung })] },
    ]
    const warnings = await warningsOf([leasing(100), tee({ branches })], 1)
    assert.equal(warnings.length, 1, warnings.join('\n'))
    assert.match(warnings[0], /^stage far\/sink \(a stream\) holds .* and takes nothing for \d+ seconds$/)
  })

  test('is told again after it was over', async () => {
    let isFree = false
    const slow = collect('bytes', [], {
      write: async (item) => {
        if (!isFree) await sleep(500)
        isFree = !isFree
        item.release()
      },
    })
    const warnings = await warningsOf([leasing(4), slow], 3)
    assert.equal(warnings.length, 2, warnings.join('\n'))
  })

  test('is none if the source waits for somebody, as at standard input', async () => {
    const input = new PassThrough()
    input.write(Buffer.alloc(3 * MIB))
    const stages = [source({ from: input }), compressor({ method: 'zstd' }), collect('bytes', [], release)]
    assert.deepEqual(await warningsOf(stages, 0), [])
  })

  test('is none if a limit delays on purpose', async () => {
    const stages = [leasing(100), rateLimit({ rate: MIB }), collect('bytes', [], release)]
    assert.deepEqual(await warningsOf(stages, 0), [])
  })

  test('is none if the last items are slow, and nobody waits for them', async () => {
    const slow = collect('bytes', [], { write: async (item) => (await sleep(800), item.release()) })
    assert.deepEqual(await warningsOf([leasing(1), slow], 0), [])
  })
})
