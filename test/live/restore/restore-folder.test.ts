import assert from 'node:assert/strict'
import {
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { Manifest } from '../../../src/core/items.ts'
import { RestoreFolder } from '../../../src/live/restore/restore-folder.ts'
import { tmpDir } from '../../support/tmp.ts'

const limits = { timeout: 60_000 }

const manifest = new Manifest({
  uuid: Buffer.alloc(16, 1),
  ctime: 0,
  configs: [{ name: 'vm.conf', data: Buffer.from('cores: 2') }],
  drives: ['a', 'b', 'c'].map((name, index) => ({ id: index + 1, name, size: 4096 })),
})

/** As after `finish` began, with these steps of it done: a killed process leaves each of these states. */
async function killedWhileNaming(folder: string, steps: ((name: string) => void)[]): Promise<void> {
  const begun = await RestoreFolder.open(folder, manifest)
  for (const drive of manifest.drives) {
    const { blocks, map } = await begun.openOverlay(drive)
    await blocks.write([Buffer.alloc(4096, drive.name)], 0)
    await blocks.close()
    await map.close()
  }
  writeFileSync(join(folder, '.restoring/complete'), manifest.uuid)
  for (const [index, step] of steps.entries()) step(`disk-${manifest.drives[index].name}.raw`)
}

test('a restore that was killed while its images got their names gives them to all', limits, async (t) => {
  const dir = tmpDir(t)
  const states: Record<string, ((name: string) => void)[]> = { none: [], one: [], linked: [], all: [] }
  const named = (folder: string) => (name: string) => renameSync(join(folder, '.restoring', name), join(folder, name))
  const linked = (folder: string) => (name: string) => linkSync(join(folder, '.restoring', name), join(folder, name))
  states.one = [named(join(dir, 'one'))]
  states.linked = [named(join(dir, 'linked')), linked(join(dir, 'linked'))]
  states.all = Array.from({ length: 3 }, () => named(join(dir, 'all')))
  for (const [state, steps] of Object.entries(states)) {
    const folder = join(dir, state)
    await killedWhileNaming(folder, steps)
    const next = await RestoreFolder.open(folder, manifest)
    assert.ok(next.isNamed)
    assert.deepEqual(readdirSync(join(folder, '.restoring')), ['complete'])
    await next.leave()
    assert.deepEqual(readdirSync(folder).sort(), ['disk-a.raw', 'disk-b.raw', 'disk-c.raw', 'vm.conf'], state)
    for (const { name } of manifest.drives) {
      assert.ok(readFileSync(join(folder, `disk-${name}.raw`)).equals(Buffer.alloc(4096, name)))
    }
  }
})

test('a restore that was killed before it said that it is complete is not', limits, async (t) => {
  const folder = join(tmpDir(t), 'vm')
  await killedWhileNaming(folder, [])
  writeFileSync(join(folder, '.restoring/complete'), manifest.uuid.subarray(0, 7))
  const next = await RestoreFolder.open(folder, manifest)
  assert.ok(!next.isNamed)
  await next.leave()
  assert.ok(existsSync(join(folder, '.restoring/disk-a.raw')), 'what is not complete stays')
  await next.finish()
  assert.ok(next.isNamed)
})

test(
  'images of another archive are not taken for those of this one, nor images that have changed their size',
  limits,
  async (t) => {
    const folder = join(tmpDir(t), 'vm')
    await killedWhileNaming(folder, [])
    const other = new Manifest({ ...manifest, uuid: Buffer.alloc(16, 2) })
    await assert.rejects(RestoreFolder.open(folder, other), {
      code: 'USAGE',
      message: /another archive was restored here/,
    })
    const next = await RestoreFolder.open(folder, manifest)
    truncateSync(join(folder, 'disk-b.raw'), 512)
    await (await next.openNamed(manifest.drives[0])).close()
    await assert.rejects(next.openNamed(manifest.drives[1]), { code: 'FAILED', message: /512 bytes now/ })
  },
)

test('an image that somebody put there meanwhile is not overwritten by that', limits, async (t) => {
  const folder = join(tmpDir(t), 'vm')
  await killedWhileNaming(folder, [])
  writeFileSync(join(folder, 'disk-b.raw'), 'mine')
  await assert.rejects(RestoreFolder.open(folder, manifest), {
    code: 'FAILED',
    message: /exists and was not overwritten/,
  })
  assert.equal(readFileSync(join(folder, 'disk-b.raw'), 'utf8'), 'mine')
  rmSync(join(folder, 'disk-b.raw'))
  assert.ok((await RestoreFolder.open(folder, manifest)).isNamed)
})

test('an image that is gone though the restore was complete is told', limits, async (t) => {
  const folder = join(tmpDir(t), 'vm')
  await killedWhileNaming(folder, [])
  rmSync(join(folder, '.restoring/disk-c.raw'))
  await assert.rejects(RestoreFolder.open(folder, manifest), { code: 'DAMAGED', message: /image .* is gone/ })
})

test('config files are there from the start, and one that is different stays', limits, async (t) => {
  const folder = join(tmpDir(t), 'vm')
  mkdirSync(folder)
  writeFileSync(join(folder, 'vm.conf'), 'cores: 8')
  await assert.rejects(RestoreFolder.open(folder, manifest), { code: 'FAILED', message: /exists/ })
  assert.ok(!existsSync(join(folder, '.restoring')))
  assert.equal(readFileSync(join(folder, 'vm.conf'), 'utf8'), 'cores: 8')
  await RestoreFolder.open(folder, manifest, { force: true })
  assert.equal(readFileSync(join(folder, 'vm.conf'), 'utf8'), 'cores: 2')
  await RestoreFolder.open(folder, manifest)
})
