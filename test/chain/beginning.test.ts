import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import { BEGINNING, uuidOfBeginning } from '../../src/chain/beginning.ts'
import { backup } from '../../src/operations/backup.ts'
import { tmpDir } from '../support/tmp.ts'

const C = 65536

/** A search reads little of each archive, so thousands in a folder cost little. */
suite('the first bytes of a much larger archive tell its uuid', { timeout: 60_000 }, () => {
  for (const compress of ['none', 'zstd', 'lz4', 'gzip']) {
    test(compress, async (t) => {
      const dir = tmpDir(t)
      const [disk, to] = [join(dir, 'd.raw'), join(dir, 'vm.vma')]
      writeFileSync(disk, randomBytes(40 * C))
      await backup({ drives: { d: disk }, to, compress })
      const archive = readFileSync(to)
      assert.ok(archive.length > 10 * BEGINNING)
      const uuid = await uuidOfBeginning(archive)
      assert.match(uuid ?? 'none', /^[0-9a-f]{32}$/)
      assert.equal(await uuidOfBeginning(archive.subarray(0, BEGINNING)), uuid)
    })
  }
})
