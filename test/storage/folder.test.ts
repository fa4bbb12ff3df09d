import assert from 'node:assert/strict'
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { Manifest } from '../../src/core/items.ts'
import { RestoreFolder } from '../../src/live/restore/restore-folder.ts'
import { openOverlay } from '../../src/storage/disks/overlay/open-overlay.ts'
import { refuseShared } from '../../src/storage/folder.ts'
import { removeEntry } from '../../src/storage/partial-entry.ts'
import { tmpDir } from '../support/tmp.ts'

/** nobody's. */
const OTHER = 65534
const timeout = 60_000
const manifest = new Manifest({
  uuid: Buffer.alloc(16, 1),
  ctime: 0,
  configs: [],
  drives: [{ id: 1, name: 'a', size: 4096 }],
})
const identity = { purpose: 'overlay', uuid: Buffer.alloc(16, 7), drive: 1, size: 4096 } as const

describe('what root makes where everybody may', {
  timeout,
  skip: process.getuid?.() !== 0 && 'needs root: there are other users then',
}, () => {
  test('is refused in a folder without the sticky bit, and used in others', async (t) => {
    const dir = tmpDir(t)
    chmodSync(dir, 0o777)
    await assert.rejects(refuseShared(dir, [], 'name another'), {
      code: 'USAGE',
      hint: 'name another, or set its sticky bit (chmod +t)',
    })
    await assert.rejects(openOverlay(join(dir, 'o'), identity), { code: 'USAGE', message: /others may replace/ })
    await assert.rejects(RestoreFolder.open(dir, manifest), { code: 'USAGE', message: /others may replace/ })
    assert.ok(!existsSync(join(dir, 'o')) && !existsSync(join(dir, '.restoring')))
    for (const mode of [0o1777, 0o755, 0o2775]) {
      chmodSync(dir, mode)
      await refuseShared(dir, [], '')
    }
  })

  test('is not what another user has made there before: an overlay, its map, the state of a restore', async (t) => {
    for (const name of ['o', 'o-map', 'o-recent']) {
      const dir = tmpDir(t)
      chmodSync(dir, 0o1777)
      writeFileSync(join(dir, name), '')
      chownSync(join(dir, name), OTHER, OTHER)
      await assert.rejects(openOverlay(join(dir, 'o'), identity), { code: 'USAGE', message: /made by another user/ })
    }
    const dir = tmpDir(t)
    chmodSync(dir, 0o1777)
    mkdirSync(join(dir, '.restoring'))
    chownSync(join(dir, '.restoring'), OTHER, OTHER)
    await assert.rejects(RestoreFolder.open(dir, manifest), { code: 'USAGE', message: /made by another user/ })
  })

  test('follows no link of a restore out of its folder', async (t) => {
    const dir = tmpDir(t)
    const treasure = join(dir, 'treasure')
    mkdirSync(treasure)
    const into = join(dir, 'into')
    mkdirSync(into)
    symlinkSync(treasure, join(into, '.restoring'))
    await assert.rejects(RestoreFolder.open(into, manifest), { code: 'FAILED', message: /exists/ })
    const other = join(dir, 'other')
    const folder = await RestoreFolder.open(other, manifest)
    const { blocks, map } = await folder.openOverlay(manifest.drives[0])
    await blocks.close()
    await map.close()
    writeFileSync(join(treasure, 'shadow'), 'secret')
    symlinkSync(join(treasure, 'shadow'), join(other, '.restoring/complete'))
    await assert.rejects(folder.finish())
    assert.equal(readFileSync(join(treasure, 'shadow'), 'utf8'), 'secret')
    assert.ok(lstatSync(join(other, '.restoring/complete')).isSymbolicLink())
  })
})

test('a partial folder that is removed is not followed elsewhere if a link has its place', async (t) => {
  const dir = tmpDir(t)
  const treasure = join(dir, 'treasure')
  mkdirSync(treasure)
  writeFileSync(join(treasure, 'shadow'), 'secret')
  symlinkSync(treasure, join(dir, 'partial'))
  await assert.rejects(removeEntry(join(dir, 'partial'), true), { code: 'ENOTDIR' })
  assert.equal(readFileSync(join(treasure, 'shadow'), 'utf8'), 'secret')
  await removeEntry(treasure, true)
  assert.ok(!existsSync(treasure))
})
