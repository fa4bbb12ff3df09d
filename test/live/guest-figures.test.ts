import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Budget } from '../../src/core/budget.ts'
import { Counters } from '../../src/core/counters.ts'
import { CLUSTER_SIZE } from '../../src/core/geometry.ts'
import { Run } from '../../src/core/items.ts'
import { GuestFigures } from '../../src/live/guest-figures.ts'

test('the figures of a guest tell how far its backup is, what its copies took and what it waits for', () => {
  const figures = new GuestFigures([10 * CLUSTER_SIZE, CLUSTER_SIZE + 512])
  assert.deepEqual(figures.status, {
    since: 0,
    clusters: { total: 12, scanned: 0, copied: 0 },
    copies: { reads: 0, archived: 0, requests: 0 },
    waiting: { count: 0, p50: 0, p99: 0, max: 0, now: 0 },
    buffer: { used: 0, size: 0, highest: 0, full: null },
    counters: {},
  })
  const [budget, counters] = [new Budget(1 << 20), new Counters()]
  figures.begin({ budget, counters })
  figures.countScanned(4)
  figures.countCopied(3, 1)
  figures.countCopied(1)
  figures.countArchived(new Run(1, 0, 3, [], null, []))
  figures.waiting.begin(performance.now() - 1000).end()
  budget.tryTake(8192)
  const { clusters, copies, waiting, buffer } = figures.status
  assert.deepEqual(clusters, { total: 12, scanned: 4, copied: 4 })
  assert.deepEqual(copies, { reads: 1, archived: 1, requests: 1 })
  assert.ok(waiting.max >= 1000 && waiting.count === 1 && waiting.now === 0)
  assert.deepEqual(buffer, { used: 8192, size: 1 << 20, highest: 8192, full: null })
  assert.deepEqual(figures.status.counters, { done: 3 * CLUSTER_SIZE })
  assert.equal(figures.scanned, 4)
  const { message, hint } = figures.stalled(1234.5, 2000, 'wait')
  const much = '8 of 12 clusters were archived, 8192 of 1048576 bytes of the buffer were full'
  assert.equal(
    message,
    `a guest's write has waited 1235 ms for the archive, 2000 are allowed: the backup was given up (${much})`,
  )
  assert.equal(hint, 'wait')
})
