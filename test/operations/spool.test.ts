import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { createReadStream, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { gzipSync } from 'node:zlib'
import { indexArchive } from '../../src/operations/index-archive.ts'
import { openArchive } from '../../src/operations/open-archive.ts'
import { archiveOf } from '../access/made-archive.ts'
import { piped } from '../support/content.ts'
import { tmpDir } from '../support/tmp.ts'
import { lacking, needs } from '../support/tools.ts'

const MIB = 1 << 20
const NAME = 'drive-scsi0'

/** A compressed archive of one drive of 24 MiB, with so much data. */
async function archiveIn(dir: string, data: number): Promise<string> {
  const image = Buffer.alloc(24 * MIB)
  randomBytes(data).copy(image, MIB)
  const path = join(dir, 'a.vma.gz')
  writeFileSync(path, gzipSync(await archiveOf([image]), { level: 1 }))
  return path
}

/** A folder with 8 MiB of room; null if there cannot be one. */
function smallFolder(t: TestContext): string | null {
  let mounted = ''
  // Before the folder is removed.
  t.after(() => {
    if (mounted !== '') execFileSync('umount', [mounted])
  })
  const folder = tmpDir(t)
  if (spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=8m', 'tmpfs', folder]).status !== 0) return null
  mounted = folder
  return folder
}

describe('a folder for what is unpacked', { timeout: 180_000, ...needs('mount') }, () => {
  const wish = 'needs the right to mount a tmpfs'

  test('that has room for the data, though not for all of the drive, is used', async (t) => {
    const spool = smallFolder(t)
    if (spool === null) return lacking(t, wish)
    const warnings: string[] = []
    const warn = (line: string) => warnings.push(line)
    const archive = await openArchive(await archiveIn(tmpDir(t), 3 * MIB), { spool, warn })
    const start = Buffer.alloc(4096)
    await archive.drive(NAME).read(start, MIB)
    assert.ok(start.some((byte) => byte !== 0))
    assert.match(warnings.join(), /unpacked into a temporary file in '.*' first, 3\.0 MiB/)
    assert.deepEqual(readdirSync(spool), [])
    await archive.close()
  })

  test('that has no room for the data is refused before anything is written', async (t) => {
    const spool = smallFolder(t)
    if (spool === null) return lacking(t, wish)
    const run = openArchive(await archiveIn(tmpDir(t), 12 * MIB), { spool })
    const line = /no space left: 12\.0 MiB must be unpacked, 8\.0 MiB are free there .*--spool/
    await assert.rejects(run, { code: 'FAILED', line })
    assert.deepEqual(readdirSync(spool), [])
  })

  test('that becomes full behind a pipe is the error, and is empty again', async (t) => {
    const spool = smallFolder(t)
    if (spool === null) return lacking(t, wish)
    const warnings: string[] = []
    const warn = (line: string) => warnings.push(line)
    const run = openArchive(createReadStream(await archiveIn(tmpDir(t), 12 * MIB)), { spool, warn })
    await assert.rejects(run, { code: 'FAILED', line: /no space left .*--spool/i })
    assert.match(warnings.join(), /up to 24\.0 MiB; only 8\.0 MiB are free there/)
    assert.equal(execFileSync('df', ['--output=used', '-B1', spool]).toString().split('\n')[1].trim(), '0')
  })
})

test('frames that are too large for memory are unpacked, and no index is made of them', needs('zstd'), async (t) => {
  const dir = tmpDir(t)
  const image = randomBytes(10 * MIB)
  const path = join(dir, 'a.vma.zst')
  const plain = await archiveOf([image], { index: false, checksums: false })
  writeFileSync(path, piped('zstd', ['-c', `--stream-size=${plain.length}`], plain))
  const buffer = 16 * MIB
  const line = /does not consist of small frames.*vmapipe repack/
  await assert.rejects(indexArchive({ archive: path, buffer }), { code: 'USAGE', line })
  await indexArchive({ archive: path })
})
