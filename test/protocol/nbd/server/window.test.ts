import assert from 'node:assert/strict'
import { test } from 'node:test'
import { SharedRoom, Window } from '../../../../src/protocol/nbd/server/window.ts'

const MIB = 1 << 20

test('clients share the bytes that all may have, and each has some of its own', () => {
  const shared = new SharedRoom(8 * MIB)
  const [greedy, modest] = [new Window(100, 32 * MIB, shared), new Window(100, 32 * MIB, shared)]
  for (let taken = 0; taken < 8; taken++) {
    assert.ok(greedy.admits(MIB))
    greedy.enter(MIB)
  }
  assert.ok(!greedy.admits(MIB))
  assert.ok(greedy.admits(0), 'a flush needs no memory')
  assert.ok(modest.admits(4 * MIB), 'one request, whatever its size')
  modest.enter(MIB / 2)
  assert.ok(modest.admits(MIB / 2))
  assert.ok(!modest.admits(MIB))
  greedy.leave(MIB)
  greedy.leave(MIB)
  assert.ok(modest.admits(MIB))
})

test('a client that is gone gives its bytes back, once', () => {
  const shared = new SharedRoom(8 * MIB)
  const window = new Window(100, 32 * MIB, shared)
  window.enter(5 * MIB)
  window.enter(MIB)
  window.close()
  assert.equal(shared.used, 0)
  window.leave(MIB)
  window.close()
  assert.equal(shared.used, 0)
})

test('one client has no more than its own limits', () => {
  const window = new Window(2, MIB, new SharedRoom(64 * MIB))
  window.enter(MIB)
  assert.ok(!window.admits(1))
  window.leave(MIB)
  window.enter(1)
  window.enter(1)
  assert.ok(!window.admits(0))
})
