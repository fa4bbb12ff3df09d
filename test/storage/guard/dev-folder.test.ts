import assert from 'node:assert/strict'
import { existsSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { archiveTarget } from '../../../src/storage/archive/target.ts'
import { makeFolder } from '../../../src/storage/folder.ts'
import { refuseAmongDevices } from '../../../src/storage/guard/dev-folder.ts'
import { openDriveWriter } from '../../../src/storage/open.ts'
import { tmpDir } from '../../support/tmp.ts'

const NO_DEVICE = { code: 'USAGE', message: /no device of this name/ }

test('no file and no folder is made among devices, whatever makes it', async (t) => {
  const typo = `/dev/vmapipe-test-${process.pid}`
  const link = join(tmpDir(t), 'dev')
  symlinkSync('/dev', link)
  await assert.rejects(openDriveWriter(typo, { size: 4096 }), NO_DEVICE)
  await assert.rejects(openDriveWriter(`qcow2:${typo}`, { size: 4096, force: true }), NO_DEVICE)
  await assert.rejects(openDriveWriter(join(link, `vmapipe-test-${process.pid}`), { size: 4096 }), NO_DEVICE)
  await assert.rejects(archiveTarget(typo).open(), NO_DEVICE)
  await assert.rejects(makeFolder(typo), { ...NO_DEVICE, where: { file: typo } })
  await assert.rejects(makeFolder(`${typo}/deeper/still`), NO_DEVICE)
  await assert.rejects(makeFolder('/dev'), NO_DEVICE)
  assert.equal(existsSync(typo), false)
})

test('files elsewhere, and in shared memory, are no devices', async (t) => {
  for (const path of [
    '/dev/shm/archive.vma',
    '/dev/shm/a/b/c',
    'archive.vma',
    join(tmpDir(t), 'dev', 'x'),
    '/development/x',
  ]) {
    await refuseAmongDevices(path)
  }
})

test('devices, standard output and descriptors of a process take an archive', async () => {
  for (const path of ['/dev/null', '/dev/zero']) {
    const target = archiveTarget(path)
    await target.open()
    await target.abort()
  }
})
