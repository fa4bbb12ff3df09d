import assert from 'node:assert/strict'
import { test } from 'node:test'
import { syscalls } from '../../src/storage/syscalls.ts'

const MiB = 1 << 20
const skip = syscalls() === null && 'there are no system calls here'

test('forgotten memory is not resident, and zero when it is looked at again', { skip }, () => {
  const memory = Buffer.from(new ArrayBuffer(32 * MiB))
  memory.fill(7)
  const before = process.memoryUsage.rss()
  assert.equal(syscalls()!.forget(memory), 0)
  assert.ok(before - process.memoryUsage.rss() > 24 * MiB)
  assert.ok(memory.subarray(MiB, 31 * MiB).every((byte) => byte === 0))
  // What is left is less than a page of any machine at each end.
  assert.ok(memory.every((byte, at) => byte === 0 || at < 65_536 || at >= memory.length - 65_536))
  memory.fill(8)
  assert.equal(syscalls()!.forget(memory.subarray(0, 100)), 0)
  assert.ok(memory.subarray(65_536, 31 * MiB).every((byte) => byte === 8))
})
