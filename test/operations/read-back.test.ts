import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { DamagedArchive } from '../../src/operations/archive-report.ts'
import { backup } from '../../src/operations/backup.ts'
import { readBack, refuseUnlessReadable } from '../../src/operations/read-back.ts'
import { writeGuest } from '../cli/guest.ts'
import { tmpDir } from '../support/tmp.ts'

const limits = { timeout: 120_000 }

test('what was written is read back, and damage on the disk found', limits, async (t) => {
  const dir = tmpDir(t)
  const { disk } = writeGuest(dir)
  const to = join(dir, 'a.vma.zst')
  await backup({ drives: { d: disk }, to })
  assert.equal((await readBack(to, {})).drives[0].checked, 75)
  const bytes = readFileSync(to)
  bytes[100_000] ^= 1
  writeFileSync(to, bytes)
  await assert.rejects(readBack(to, {}), (error) => error instanceof DamagedArchive)
})

test('what goes into a pipe, a device or a folder cannot be read back', limits, async (t) => {
  const dir = tmpDir(t)
  await refuseUnlessReadable(join(dir, 'new.vma'))
  await refuseUnlessReadable('ssh://nas/a.vma')
  for (const to of ['-', 'exec:cat', '/dev/null', dir])
    await assert.rejects(refuseUnlessReadable(to), { code: 'USAGE', hint: /verify it where it arrives/ }, to)
})
