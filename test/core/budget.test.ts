import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { setImmediate as tick } from 'node:timers/promises'
import { Budget } from '../../src/core/budget.ts'
import { discard } from '../../src/core/memory.ts'

const timeout = 60_000

describe('the budget', { timeout }, () => {
  test('lets nobody have more than there is, and goes on when something comes back', async () => {
    const budget = new Budget(100)
    const first = await budget.take(60)
    const order: string[] = []
    const second = budget.take(60).then((lease) => (order.push('second'), lease))
    const third = budget.take(30).then((lease) => (order.push('third'), lease))
    await tick()
    assert.deepEqual(order, [], 'a smaller wish does not overtake')
    first.release()
    await Promise.all([second, third])
    assert.deepEqual(order, ['second', 'third'])
    assert.equal(budget.used, 90)
    assert.equal(budget.highWater, 90)
  })

  test('exchanges leases for a smaller one at once, though nothing is left', async () => {
    const budget = new Budget(100)
    const leases = [await budget.take(60), await budget.take(40)]
    const waiting = budget.take(50).then((lease) => lease.release())
    const slab = budget.exchange(leases, 10, (buffer) => buffer.fill(7))
    assert.ok(slab.buffer.equals(Buffer.alloc(10, 7)))
    assert.equal(budget.highWater, 100)
    await waiting
    slab.release()
    assert.equal(budget.used, 0)
  })

  test('serves urgent wishes first', async () => {
    const budget = new Budget(10)
    const lease = await budget.take(10)
    const order: string[] = []
    const scan = budget.take(10).then((l) => (order.push('scan'), l.release()))
    const guest = budget.take(10, { urgent: true }).then((l) => (order.push('guest'), l.release()))
    lease.release()
    await Promise.all([scan, guest])
    assert.deepEqual(order, ['guest', 'scan'])
  })

  test('remembers since when urgent wishes had to wait', async () => {
    const budget = new Budget(10)
    const lease = await budget.take(10)
    const scan = budget.take(10).then((l) => l.release())
    assert.equal(budget.fullSince, null)
    const before = Date.now() / 1000
    const guests = [1, 2].map(() => budget.take(10, { urgent: true }).then((l) => l.release()))
    const since = budget.fullSince!
    assert.ok(since >= before && since <= Date.now() / 1000)
    lease.release()
    await Promise.all([scan, ...guests])
    assert.equal(budget.fullSince, since)
  })

  test('holds a lease until its last holder lets go, and notices one too many', async () => {
    const budget = new Budget(10)
    const lease = (await budget.take(10)).retain()
    lease.release()
    assert.equal(budget.used, 10)
    lease.release()
    assert.equal(budget.used, 0)
    assert.throws(() => lease.release(), { code: 'STAGE' })
  })

  test('reuses buffers of the same size', async () => {
    const budget = new Budget(100_000)
    const first = await budget.take(50_000)
    const { buffer } = first
    first.release()
    assert.equal((await budget.take(50_000)).buffer, buffer)
  })

  test('does not keep buffers beyond its size', async () => {
    const budget = new Budget(100_000)
    const old = await budget.take(80_000)
    old.release()
    const other = await budget.take(50_000)
    assert.equal(other.buffer.length, 50_000)
    assert.equal(old.buffer.buffer.byteLength, 0, 'the memory of the old one is gone')
  })

  test('refuses what it can never give', async () => {
    await assert.rejects(new Budget(10).take(11), { code: 'USAGE' })
    assert.throws(() => new Budget(10).carve(11, 'a stage'), { code: 'USAGE' })
  })

  test('says how large the whole must be, and of a part only that it is too small', () => {
    const budget = new Budget(100)
    const part = budget.carve(60, 'a stage')
    assert.throws(() => budget.require(50, 'x'), { code: 'USAGE', hint: /a larger --buffer, at least 110 B, or/ })
    assert.throws(() => part.require(61, 'x'), { code: 'USAGE', hint: 'allow a larger --buffer, or fewer threads' })
  })

  test('a part that is carved off is not there for others', async () => {
    const budget = new Budget(100)
    const part = budget.carve(60, 'a stage')
    assert.equal(budget.tryTake(41), null)
    assert.ok(budget.tryTake(40))
    assert.ok(part.tryTake(60))
  })

  test('room for what has memory of its own is had without waiting, or not at all', async () => {
    const budget = new Budget(1000)
    const [first, second] = [budget.tryCharge(600), budget.tryCharge(400)]
    assert.equal(budget.tryCharge(1), null)
    assert.equal(budget.used, 1000)
    const urgent = budget.charge(100, undefined, { urgent: true })
    first!.release()
    await urgent
    assert.ok(budget.tryCharge(500))
    second!.release()
    assert.equal(budget.returned, 2)
  })

  test('refuses everybody once closed', async () => {
    const budget = new Budget(10)
    const lease = await budget.take(10)
    const waiting = budget.take(1)
    budget.close(new Error('over'))
    await assert.rejects(waiting, { message: 'over' })
    await assert.rejects(budget.take(1), { message: 'over' })
    lease.release()
  })

  test('closes its parts with it', async () => {
    const budget = new Budget(10)
    const part = budget.carve(5, 'a stage')
    await part.take(5)
    assert.equal(budget.used, 5)
    const waiting = part.take(1)
    budget.close(new Error('over'))
    await assert.rejects(waiting, { message: 'over' })
  })

  test('disposes of memory that somebody else made', async () => {
    const budget = new Budget(1 << 20)
    const memory = Buffer.allocUnsafeSlow(1 << 20)
    const lease = await budget.charge(1 << 20, () => discard(memory))
    assert.equal(budget.used, 1 << 20)
    lease.release()
    assert.equal(memory.buffer.byteLength, 0)
  })
})

test('the end of a branch refuses what that branch waits for, and nobody else notices', async () => {
  const budget = new Budget(100)
  const branch = budget.branch()
  const held = await budget.take(80)
  const refused = branch.take(50)
  const other = budget.take(30)
  branch.close(new Error('the branch has failed'))
  await assert.rejects(refused, { message: 'the branch has failed' })
  await assert.rejects(branch.take(1), { message: 'the branch has failed' })
  assert.equal(branch.tryTake(1), null)
  held.release()
  const lease = await other
  assert.equal(budget.used, 30)
  lease.release()
  assert.equal(budget.used, 0)
})

test('what a branch carves off counts for the whole budget, and ends with the branch', async () => {
  const budget = new Budget(100)
  const branch = budget.branch()
  const part = branch.carve(40, 'a stage')
  const slab = await part.take(40)
  assert.deepEqual([budget.capacity, branch.capacity, budget.used], [60, 60, 40])
  branch.close(new Error('the branch has failed'))
  await assert.rejects(part.take(1), { message: 'the branch has failed' })
  slab.release()
  assert.equal(budget.used, 0)
  ;(await budget.take(60)).release()
})
