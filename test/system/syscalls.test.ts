import assert from 'node:assert/strict'
import { closeSync, openSync, truncateSync, writeFileSync } from 'node:fs'
import { constants } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { syscalls } from '../../src/system/syscalls.ts'
import { tmpDir } from '../support/tmp.ts'

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

test('any number of calls in other threads are made, and each has an error of its own', { skip }, async (t) => {
  const path = join(tmpDir(t), 'hole')
  writeFileSync(path, '')
  truncateSync(path, MiB)
  const fd = openSync(path, 'r')
  t.after(() => closeSync(fd))
  const answers = await Promise.all(
    Array.from({ length: 1000 }, (_, index) => {
      const SEEK_HOLE = 4
      if (index % 3 === 0) return syscalls()!.lseekAsync(fd, index, SEEK_HOLE)
      return syscalls()!.lseekAsync(index % 3 === 1 ? 0x7ffffff : fd, 2 * MiB, SEEK_HOLE)
    }),
  )
  const { EBADF, ENXIO } = constants.errno
  for (const [index, answer] of answers.entries())
    assert.equal(answer, [index, -EBADF, -ENXIO][index % 3], `call ${index}`)
})
