import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { Budget } from '../../../src/core/budget.ts'
import { CLUSTER_SIZE } from '../../../src/core/geometry.ts'
import type { Run } from '../../../src/core/items.ts'
import { PushTarget } from '../../../src/live/qemu/push-target.ts'

const timeout = 60_000

function setUp({ size = 10 * CLUSTER_SIZE, memory = 1 << 20 } = {}) {
  const budget = new Budget(memory)
  const runs: Run[] = []
  const failures: unknown[] = []
  const counts = { waiting: 0, pushed: 0, scanned: 0 }
  const target = new PushTarget(3, size, {
    budget,
    emit: (run) => runs.push(run),
    fail: (error) => failures.push(error),
    waits: () => {
      counts.waiting++
      return () => void counts.waiting--
    },
    pushed: (clusters) => {
      counts.pushed += clusters
    },
    scanned: (clusters) => {
      counts.scanned += clusters
    },
  })
  return { target, budget, runs, failures, counts }
}

const bytes = (clusters: number, fill: string) => [Buffer.alloc(clusters * CLUSTER_SIZE, fill)]

describe('a push target', { timeout }, () => {
  test('archives what is written, in memory of its own, and answers at once', () => {
    const { target, runs, budget, counts } = setUp()
    const written = bytes(2, 'a')
    assert.equal(target.write(written, 3 * CLUSTER_SIZE), undefined)
    written[0].fill('b')
    const [{ drive, first, count, blocks }] = runs
    assert.deepEqual({ drive, first, count }, { drive: 3, first: 3, count: 2 })
    assert.ok(Buffer.concat(blocks).equals(bytes(2, 'a')[0]))
    assert.equal(budget.used, 2 * CLUSTER_SIZE)
    runs[0].release()
    assert.equal(budget.used, 0)
    assert.deepEqual(counts, { waiting: 0, pushed: 2, scanned: 0 })
  })

  test('the odd end of a drive is whole blocks, zero past its end', () => {
    const { target, runs } = setUp({ size: CLUSTER_SIZE + 1536 })
    target.write([Buffer.alloc(1536, 'x')], CLUSTER_SIZE)
    const [block] = runs[0].blocks as Buffer[]
    assert.equal(block.length, 4096)
    assert.equal(block.toString('latin1', 1535, 1538), 'x\0\0')
  })

  test('zeroes take no data, but are counted in memory', async () => {
    const { target, runs, budget } = setUp()
    await target.zero(0, 10 * CLUSTER_SIZE)
    assert.ok(runs[0].isZero)
    assert.equal(runs[0].count, 10)
    assert.ok(budget.used > 0)
    runs[0].release()
    assert.equal(budget.used, 0)
    await target.whole
  })

  test('a push of what is there is dropped, and of a piece of it the rest is kept', () => {
    const { target, runs, budget } = setUp()
    target.write(bytes(1, 'a'), 4 * CLUSTER_SIZE)
    target.write(bytes(1, 'b'), 4 * CLUSTER_SIZE)
    assert.equal(runs.length, 1)
    target.write([...bytes(1, '3'), ...bytes(1, '4'), ...bytes(1, '5')], 3 * CLUSTER_SIZE)
    assert.deepEqual(
      runs.slice(1).map(({ first, count, blocks }) => [first, count, String.fromCharCode(blocks[0][0])]),
      [
        [3, 1, '3'],
        [5, 1, '5'],
      ],
    )
    for (const run of runs) run.release()
    assert.equal(budget.used, 0)
  })

  test('waits for memory, and that is the throttle', async () => {
    const { target, budget, runs, counts } = setUp({ memory: 2 * CLUSTER_SIZE })
    target.write(bytes(2, 'a'), 0)
    let answered = false
    const push = Promise.resolve(target.write(bytes(1, 'b'), 5 * CLUSTER_SIZE)).then(() => {
      answered = true
    })
    await sleep(20)
    assert.equal(answered, false)
    assert.equal(counts.waiting, 1)
    runs[0].release()
    await push
    assert.equal(counts.waiting, 0)
    assert.equal(budget.used, CLUSTER_SIZE)
  })

  test('a push that waits goes on when the scan has read its clusters, and archives nothing', async () => {
    const { target, budget, runs, counts } = setUp({ memory: 2 * CLUSTER_SIZE })
    target.write(bytes(2, 'a'), 0)
    const push = target.write(bytes(1, 'b'), 5 * CLUSTER_SIZE)
    assert.deepEqual(target.claim(4, 4, 4), [{ first: 4, count: 4 }])
    assert.deepEqual(target.settle(4, 4), [{ first: 4, count: 4 }])
    await push
    assert.equal(runs.length, 1)
    assert.deepEqual(counts, { waiting: 0, pushed: 2, scanned: 4 })
    runs[0].release()
    await sleep(5)
    assert.equal(budget.used, 0, 'the memory that came too late was given back')
  })

  test('what was pushed while the scan read it is not the scan’s to archive', () => {
    const { target, counts } = setUp()
    assert.deepEqual(target.claim(0, 10, 10), [{ first: 0, count: 10 }])
    target.write(bytes(2, 'a'), 3 * CLUSTER_SIZE)
    assert.deepEqual(target.settle(0, 10), [
      { first: 0, count: 3 },
      { first: 5, count: 5 },
    ])
    assert.deepEqual(counts, { waiting: 0, pushed: 2, scanned: 8 })
    assert.equal(target.free(0, 10), 0)
    assert.deepEqual(target.claim(0, 10, 10), [])
  })

  test('claims no more than is asked for', () => {
    const { target } = setUp()
    target.write(bytes(1, 'a'), CLUSTER_SIZE)
    assert.equal(target.free(0, 10), 9)
    assert.deepEqual(target.claim(0, 10, 3), [
      { first: 0, count: 1 },
      { first: 2, count: 2 },
    ])
  })

  test('once it is over everybody goes on, and everything is answered at once', async () => {
    const { target, runs, budget } = setUp({ memory: 2 * CLUSTER_SIZE })
    target.write(bytes(2, 'a'), 0)
    const pushes = [target.write(bytes(1, 'b'), 5 * CLUSTER_SIZE), target.zero(7 * CLUSTER_SIZE, CLUSTER_SIZE)]
    target.end()
    await Promise.all(pushes)
    assert.equal(target.write(bytes(1, 'b'), 8 * CLUSTER_SIZE), undefined)
    assert.equal(target.zero(9 * CLUSTER_SIZE, CLUSTER_SIZE), undefined)
    assert.equal(runs.length, 1)
    runs[0].release()
    await sleep(5)
    assert.equal(budget.used, 0)
  })

  test('flushes and handshakes never wait, whatever is in memory', () => {
    const { target } = setUp({ memory: 2 * CLUSTER_SIZE })
    target.write(bytes(2, 'a'), 0)
    void target.write(bytes(1, 'b'), 5 * CLUSTER_SIZE)
    assert.equal(target.flush(), undefined)
    assert.equal(target.trim(), undefined)
  })

  test('a push of less than whole clusters ends the backup', () => {
    for (const [length, offset] of [
      [CLUSTER_SIZE, 4096],
      [4096, 0],
    ]) {
      const { target, failures, runs } = setUp()
      assert.equal(target.write([Buffer.alloc(length)], offset), undefined)
      assert.match(String(failures[0]), /which are not whole clusters/)
      assert.deepEqual(runs, [])
    }
  })

  test('memory that can never be had ends the backup, and the guest goes on', async () => {
    const { target, failures } = setUp({ memory: CLUSTER_SIZE })
    await target.write(bytes(2, 'a'), 0)
    assert.match(String(failures[0]), /needs 128.0 KiB of memory/)
  })
})
