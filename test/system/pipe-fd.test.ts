import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { closeSync, constants, openSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { reopenPipe } from '../../src/system/pipe-fd.ts'
import { tmpDir } from '../support/tmp.ts'

/** How many bytes it takes until it is full. */
function roomOf(fd: number): number {
  const piece = Buffer.alloc(4096)
  for (let bytes = 0; ; ) {
    try {
      bytes += writeSync(fd, piece)
    } catch (error) {
      assert.equal((error as NodeJS.ErrnoException).code, 'EAGAIN')
      return bytes
    }
  }
}

test('a pipe is made as large as anybody may have it', async (t) => {
  const path = join(tmpDir(t), 'fifo')
  execFileSync('mkfifo', [path])
  const fd = openSync(path, constants.O_RDWR | constants.O_NONBLOCK)
  t.after(() => closeSync(fd))
  assert.equal(roomOf(fd), 65536)
  const again = await reopenPipe(fd, 'write')
  t.after(() => closeSync(again))
  assert.notEqual(again, fd)
  assert.equal(roomOf(again), (1 << 20) - 65536)
})
