import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { setImmediate as otherEvents, setTimeout as sleep } from 'node:timers/promises'
import { CLUSTER_SIZE } from '../../src/core/geometry.ts'
import { type ClusterItem, type Item, Manifest, Run } from '../../src/core/items.ts'
import { definePipeline } from '../../src/core/pipeline.ts'
import { courtesy } from '../../src/live/courtesy.ts'
import { collect, itemsOf } from '../support/flow.ts'

const timeout = 60_000

function scanned(pieces: number): ClusterItem[] {
  const manifest = new Manifest({
    uuid: new Uint8Array(16),
    ctime: 0,
    configs: [],
    drives: [{ id: 1, name: 'a', size: pieces * CLUSTER_SIZE }],
  })
  const runs = Array.from({ length: pieces }, (_, index) => new Run(1, index, 1, [Buffer.alloc(CLUSTER_SIZE, 1)]))
  return [manifest, ...runs]
}

/** The stage's own function, beside a guest that makes requests or none. */
function beside(requests: () => number): (item: ClusterItem) => Promise<ClusterItem> {
  const { definition, options } = courtesy({ requests, pressed: () => false })
  return definition.create(options as never, { signal: new AbortController().signal } as never) as never
}

function work(millis: number): void {
  for (const from = performance.now(); performance.now() - from < millis; );
}

describe('courtesy', { timeout }, () => {
  test('lets nothing go on while copies are all that the sink can take', async () => {
    let pressed = true
    const out: Item[] = []
    const done = definePipeline([
      itemsOf('clusters', scanned(5)),
      courtesy({ requests: () => 0, pressed: () => pressed }),
      collect('clusters', out),
    ]).run()
    while (out.length === 0) await sleep(5)
    await sleep(50)
    assert.equal(out.length, 1, 'the manifest alone')
    pressed = false
    await done
    assert.equal(out.length, 6)
  })

  test('stands still for a moment, never for good', async () => {
    const out: Item[] = []
    const stages = [
      itemsOf('clusters', scanned(2)),
      courtesy({ requests: () => 0, pressed: () => true }),
      collect('clusters', out),
    ]
    await definePipeline(stages).run()
    assert.equal(out.length, 3)
  })

  test('ends at once with its backup', async () => {
    const controller = new AbortController()
    const done = definePipeline([
      itemsOf('clusters', scanned(5)),
      courtesy({ requests: () => 0, pressed: () => true }),
      collect('clusters', []),
    ]).run({ signal: controller.signal })
    setTimeout(() => controller.abort(), 50)
    await assert.rejects(done, { code: 'ABORTED' })
  })

  test('rests for six times its work while the guest makes requests', async () => {
    let made = 0
    const pass = beside(() => made++)
    const [, first, second] = scanned(2)
    await pass(first)
    work(5)
    const from = performance.now()
    await pass(second)
    // Timers count whole milliseconds.
    assert.ok(performance.now() - from >= 6 * 5 - 1)
  })

  test('rests the less the fewer requests come for a cluster of the scan, if asked to', async () => {
    const rested = async (made: number) => {
      let count = 0
      const { definition, options } = courtesy({ requests: () => count, crowd: 2, pressed: () => false })
      const pass: any = definition.create(options as never, { signal: new AbortController().signal } as never)
      const [, first, second] = scanned(2)
      await pass(first)
      count += made
      work(10)
      const from = performance.now()
      await pass(second)
      return performance.now() - from
    }
    assert.ok((await rested(2)) >= 59)
    assert.ok((await rested(200)) >= 59)
    const half = []
    for (let round = 0; round < 5; round++) half.push(await rested(1))
    assert.ok(Math.min(...half) >= 29 && Math.min(...half) < 59, half.join())
  })

  test('does not rest where the guest makes none', async () => {
    const pass = beside(() => 7)
    const [, first, second] = scanned(2)
    await pass(first)
    work(5)
    let passed = false
    void pass(second).then(() => {
      passed = true
    })
    for (let turn = 0; turn < 3; turn++) await otherEvents()
    assert.ok(passed, 'after what else has come, and no later')
  })
})
