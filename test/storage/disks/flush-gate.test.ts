import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FlushGate } from '../../../src/storage/disks/flush-gate.ts'

const timeout = 60_000

/** A gate whose syncs the test ends one by one. */
function controlled() {
  const syncs: PromiseWithResolvers<void>[] = []
  const gate = new FlushGate(() => {
    const sync = Promise.withResolvers<void>()
    syncs.push(sync)
    return sync.promise
  })
  return { gate, syncs }
}

test('who asks while a flush runs gets the next one, together with all others', { timeout }, async () => {
  const { gate, syncs } = controlled()
  const done: string[] = []
  const ask = (name: string) => gate.flush().then(() => done.push(name))
  const first = ask('first')
  const others = [ask('second'), ask('third')]
  assert.equal(syncs.length, 1)
  syncs[0].resolve()
  await first
  await new Promise(setImmediate)
  assert.deepEqual(done, ['first'], 'the others wait for a flush that began after they asked')
  assert.equal(syncs.length, 2)
  const last = ask('last')
  syncs[1].resolve()
  await Promise.all(others)
  assert.deepEqual(done, ['first', 'second', 'third'])
  await new Promise(setImmediate)
  syncs[2].resolve()
  await last
  assert.equal(syncs.length, 3)
})

test('after a failure no flush succeeds any more, nor one that waited', { timeout }, async () => {
  const { gate, syncs } = controlled()
  const lost = new Error('write-back failed')
  const running = assert.rejects(gate.flush(), lost)
  const waiting = assert.rejects(gate.flush(), lost)
  syncs[0].reject(lost)
  await Promise.all([running, waiting])
  await assert.rejects(gate.flush(), lost)
  assert.throws(() => gate.throwIfFailed(), lost)
  assert.equal(syncs.length, 1, 'the kernel is not asked again')
})

test('a failure that is seen elsewhere counts', { timeout }, async () => {
  const { gate, syncs } = controlled()
  gate.fail(new Error('seen by a durable write'))
  await assert.rejects(gate.flush(), /durable write/)
  assert.equal(syncs.length, 0)
})
