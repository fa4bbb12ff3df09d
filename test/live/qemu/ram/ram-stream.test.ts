import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { Budget } from '../../../../src/core/budget.ts'
import { VmapipeError } from '../../../../src/core/errors.ts'
import { CLUSTER_SIZE } from '../../../../src/core/geometry.ts'
import type { Run } from '../../../../src/core/items.ts'
import { RamStream } from '../../../../src/live/qemu/ram/ram-stream.ts'
import { tmpDir } from '../../../support/tmp.ts'

const timeout = 60_000
const DRIVE = 3

interface SetUp {
  clusters?: number
  outcome?: () => Promise<void>
  /** Each run is given back at once, as by a target that keeps up. */
  keepsUp?: boolean
}

/** A stream, and who sends it. */
async function setUp(t: TestContext, { clusters = 400, outcome = async () => {}, keepsUp = true }: SetUp = {}) {
  const budget = new Budget(32 << 20)
  const runs: Run[] = []
  const content: Buffer[] = []
  const failures: Error[] = []
  let waiting = 0
  const host = {
    emit(run: Run) {
      runs.push(run)
      content.push(run.isZero ? Buffer.alloc(run.count * CLUSTER_SIZE) : Buffer.concat(run.blocks as Buffer[]))
      if (keepsUp) run.release()
    },
    fail: (error: unknown) => {
      failures.push(error as Error)
      stream.end()
    },
    waits: () => {
      waiting++
      return () => void waiting--
    },
    pushed: () => {},
  }
  const stream = new RamStream({ drive: DRIVE, size: clusters * CLUSTER_SIZE, host, outcome })
  stream.begin(budget)
  const path = join(tmpDir(t), 's')
  const server = createServer({ pauseOnConnect: true }, (socket) => stream.accept(socket))
  server.listen(path)
  await once(server, 'listening')
  t.after(() => {
    stream.end()
    server.close()
  })
  const qemu = connect(path)
  qemu.on('error', () => {})
  await once(qemu, 'connect')
  return { stream, qemu, path, budget, runs, failures, all: () => Buffer.concat(content), waits: () => waiting }
}

function noise(bytes: number): Buffer {
  return Buffer.alloc(bytes, Array.from({ length: 251 }, (_, index) => String.fromCharCode(index)).join(''), 'latin1')
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await sleep(5)
}

describe("the stream of a guest's memory", { timeout }, () => {
  for (const bytes of [1, CLUSTER_SIZE, 5 * CLUSTER_SIZE + 77, (1 << 19) * 3, 20_000_000]) {
    test(`of ${bytes} bytes: every cluster in order, zeroes behind its end, no memory kept`, async (t) => {
      const it = await setUp(t)
      const sent = noise(bytes)
      it.qemu.end(sent)
      await it.stream.whole
      let next = 0
      for (const { drive, first, count } of it.runs) {
        assert.deepEqual([drive, first], [DRIVE, next])
        next += count
      }
      assert.equal(next, 400)
      assert.ok(it.all().subarray(0, bytes).equals(sent))
      assert.ok(
        it
          .all()
          .subarray(bytes)
          .every((byte) => byte === 0),
      )
      assert.equal(it.budget.used, 0)
      assert.deepEqual(it.failures, [])
    })
  }

  test('takes no more than its part of the memory, waits, and goes on', async (t) => {
    const it = await setUp(t, { keepsUp: false })
    const sent = noise(20_000_000)
    it.qemu.end(sent)
    await until(() => it.waits() > 0)
    const held = it.budget.used
    assert.ok(held >= 6 << 20 && held <= 16 << 20, `${held} bytes`)
    const rest = setInterval(() => {
      for (const run of it.runs.splice(0)) run.release()
    }, 5)
    await it.stream.whole
    clearInterval(rest)
    assert.ok(it.all().subarray(0, sent.length).equals(sent))
  })

  test('is not whole where QEMU says so, though it has ended', async (t) => {
    const outcome = async () => {
      throw new VmapipeError('FAILED', 'the snapshot failed')
    }
    const it = await setUp(t, { outcome })
    it.qemu.end(noise(100_000))
    await until(() => it.failures.length > 0)
    assert.match(it.failures[0].message, /the snapshot failed/)
    assert.equal(it.budget.used, 0)
  })

  test('fails when there is more than was expected, and takes no more of it', async (t) => {
    const it = await setUp(t, { clusters: 20 })
    it.qemu.end(noise(40 * CLUSTER_SIZE))
    await until(() => it.failures.length > 0)
    assert.match(it.failures[0].message, /need more than the 1310720 bytes/)
    assert.ok(it.all().length <= 20 * CLUSTER_SIZE)
    assert.equal(it.budget.used, 0)
  })

  test('is cut when it is all over: QEMU sees the end of its connection', async (t) => {
    const it = await setUp(t)
    it.qemu.write(noise(100_000))
    await sleep(10)
    it.stream.end()
    await once(it.qemu, 'close')
    assert.deepEqual(it.failures, [])
    await until(() => it.budget.used === 0)
  })

  test('is that of one connection', async (t) => {
    const it = await setUp(t)
    const second = connect(it.path)
    second.on('error', () => {})
    await once(second, 'close')
    it.qemu.end(noise(1000))
    await it.stream.whole
  })
})
