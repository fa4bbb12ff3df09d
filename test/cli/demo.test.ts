import assert from 'node:assert/strict'
import { readdirSync } from 'node:fs'
import { test } from 'node:test'
import { tmpDir } from '../support/tmp.ts'
import { vmapipe } from './cli.ts'

test('the demo does what it says, and leaves nothing behind', { timeout: 30_000 }, async (t) => {
  const dir = tmpDir(t)
  const { code, stdout, stderr } = await vmapipe(['demo'], { env: { TMPDIR: dir } })
  assert.equal(code, 0, stderr)
  const text = stdout.toString()
  for (const step of ['A guest is made up', 'Backup', 'Verify', 'Restore', 'Compare'])
    assert.match(text, new RegExp(`^${step}$`, 'm'))
  assert.match(
    text,
    /^ {2}\$ vmapipe backup -d drive-scsi0=drive-scsi0\.raw -d .* -c qemu-server\.conf -o vm\.vma\.zst$/m,
  )
  assert.match(text, /all 3 files are the same, byte for byte/)
  assert.deepEqual(readdirSync(dir), [])
})
