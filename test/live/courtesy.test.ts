import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { CLUSTER_SIZE } from '../../src/core/geometry.ts'
import { type ClusterItem, type Item, Manifest, Run } from '../../src/core/items.ts'
import { definePipeline } from '../../src/core/pipeline.ts'
import { courtesy } from '../../src/live/courtesy.ts'
import { collect, itemsOf } from '../support/flow.ts'

const timeout = 10_000

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

/** Each takes the event loop some milliseconds. */
function* laboured(): Generator<ClusterItem> {
  for (const item of scanned(12)) {
    for (const from = performance.now(); performance.now() - from < 4; );
    yield item
  }
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
    await sleep(100)
    assert.equal(out.length, 1, 'the manifest alone')
    pressed = false
    await done
    assert.equal(out.length, 6)
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

  test('rests while the guest makes requests, and does not where it makes none', async () => {
    const timeOf = async (requests: () => number) => {
      const from = performance.now()
      const stages = [courtesy({ requests, pressed: () => false }), collect('clusters', [])]
      await definePipeline([itemsOf('clusters', laboured()), ...stages]).run()
      return performance.now() - from
    }
    let made = 0
    const [idle, busy] = [await timeOf(() => 0), await timeOf(() => made++)]
    assert.ok(busy > 2 * idle, `${busy.toFixed(0)} ms beside a busy guest, ${idle.toFixed(0)} without`)
  })
})
