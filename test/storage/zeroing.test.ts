import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { constants } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { zeroRange } from '../../src/storage/zeroing.ts'
import { tmpDir } from '../support/tmp.ts'

const unable = async () => -constants.errno.EOPNOTSUPP

for (const [name, calls] of [
  ['there are no system calls', null],
  ['neither filesystem nor device can do it', { fallocate: unable, blkZeroOut: unable }],
] as const) {
  test(`zeroes are written where ${name}`, { timeout: 60_000 }, async (t) => {
    const path = join(tmpDir(t), 'disk')
    const expected = Buffer.alloc(3_000_000, 1)
    writeFileSync(path, expected)
    const file = await open(path, 'r+')
    for (const [offset, length] of [
      [0, 1],
      [5000, 100],
      [8192, 4096],
      [10_001, 2_500_000],
    ]) {
      await zeroRange(file, true, offset, length, calls)
      expected.fill(0, offset, offset + length)
    }
    await file.close()
    assert.ok(readFileSync(path).equals(expected))
  })
}

test('a device is asked for whole pages only, in pieces', { timeout: 60_000 }, async (t) => {
  const path = join(tmpDir(t), 'disk')
  writeFileSync(path, '')
  const file = await open(path, 'r+')
  const asked: number[][] = []
  const calls = {
    fallocate: unable,
    async blkZeroOut(_: number, offset: number, length: number) {
      asked.push([offset, length])
      return 0
    },
  }
  await zeroRange(file, true, 100, 2 ** 31, calls)
  await file.close()
  assert.deepEqual(asked, [
    [4096, 2 ** 30],
    [4096 + 2 ** 30, 2 ** 30 - 4096],
  ])
})
