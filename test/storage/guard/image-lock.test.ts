import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { linkSync, openSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { Manifest } from '../../../src/core/items.ts'
import { RestoreFolder } from '../../../src/live/restore/restore-folder.ts'
import { OpenFileTarget } from '../../../src/storage/archive/device-target.ts'
import { archiveTarget } from '../../../src/storage/archive/target.ts'
import { isLockedBySomebody } from '../../../src/storage/guard/lock-holders.ts'
import { openDriveReader, openDriveWriter } from '../../../src/storage/open.ts'
import { openDisk } from '../../../src/storage/open-disk.ts'
import { loopDevice, needsLoopDevice } from '../../support/loop-device.ts'
import { qemuNbd } from '../../support/nbd-server.ts'
import { tmpDir } from '../../support/tmp.ts'
import { needs } from '../../support/tools.ts'

const limits = { timeout: 60_000, ...needs('qemu-nbd', 'qemu-img', 'qemu-io') }
const SIZE = 2 ** 20
const IN_USE = { code: 'FAILED', message: /^the image is in use by process \d+ \(qemu-nbd\)$/ }
const OUR_OWN = { code: 'FAILED', message: /^the image is in use by this very process$/ }

/** A folder with an image, also as a symbolic and as a hard link, and a QEMU that has the image open once it is asked for. */
function image(t: TestContext, format = 'raw') {
  const dir = tmpDir(t)
  const [path, link, hard] = ['disk', 'link', 'hard'].map((name) => join(dir, name))
  if (format === 'raw') writeFileSync(path, Buffer.alloc(SIZE, 'old '))
  else execFileSync('qemu-img', ['create', '-q', '-f', format, path, String(SIZE)])
  symlinkSync(path, link)
  linkSync(path, hard)
  const use = (...args: string[]) => useByQemu(t, dir, ['-f', format, ...args], path)
  return { dir, path, names: [path, link, hard], use }
}

/** A QEMU that has the image open; its socket is there a moment before its locks are. */
async function useByQemu(t: TestContext, dir: string, args: string[], path: string): Promise<void> {
  await qemuNbd(t, join(dir, 'socket'), [...args, path])
  while (!isLockedBySomebody(statSync(path), [203])) await sleep(5)
}

/** Whether a QEMU may write to it. */
function qemuMayWrite(path: string): boolean {
  return spawnSync('qemu-io', ['-f', 'raw', '-c', 'write 0 512', path]).status === 0
}

for (const format of ['raw', 'qcow2']) {
  test(
    `a ${format} image that a QEMU writes to is not read, by any of its names, unless it is shared by force`,
    limits,
    async (t) => {
      const { names, use } = image(t, format)
      await use()
      for (const name of names) {
        const wanted = { ...IN_USE, hint: /--qmp SOCKET.*--attach CONTROL.*--force-share/ }
        await assert.rejects(openDriveReader(`${format}:${name}`), wanted)
        const reader = await openDriveReader(`${format}:${name}`, { forceShare: true })
        await reader.read(Buffer.alloc(512), 0)
        await reader.close()
      }
    },
  )

  test(`a ${format} image that is in use is not replaced, by force neither`, limits, async (t) => {
    const { path, names, use } = image(t, format)
    await use()
    const before = statSync(path).ino
    for (const name of names) {
      const options = { size: SIZE, force: true }
      await assert.rejects(openDriveWriter(name, options), { ...IN_USE, hint: /end the guest/ })
      await assert.rejects(openDriveWriter(`qcow2:${name}`, options), IN_USE)
      await assert.rejects(archiveTarget(name, { force: true }).open(), IN_USE)
    }
    assert.equal(statSync(path).ino, before)
  })
}

test('an image with a comma in its name is shared by force', limits, async (t) => {
  const path = join(tmpDir(t), 'a,b')
  execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', path, String(SIZE)])
  const reader = await openDriveReader(`qcow2:${path}`, { forceShare: true })
  assert.equal(reader.size, SIZE)
  await reader.close()
})

test('an image that is only read may be read, but not replaced', limits, async (t) => {
  const { path, use } = image(t)
  await use('--read-only')
  await (await openDriveReader(path)).close()
  await assert.rejects(openDriveWriter(path, { size: SIZE, force: true }), IN_USE)
})

test('while an image is read a QEMU may read it too, and none may write to it', limits, async (t) => {
  const { dir, path } = image(t)
  const reader = await openDriveReader(path)
  const second = await openDriveReader(path)
  execFileSync('qemu-img', ['convert', '-f', 'raw', '-O', 'raw', path, join(dir, 'copy')])
  assert.equal(qemuMayWrite(path), false)
  await reader.close()
  assert.equal(qemuMayWrite(path), false)
  await second.close()
  assert.equal(qemuMayWrite(path), true)
  const shared = await openDriveReader(path, { forceShare: true })
  assert.equal(qemuMayWrite(path), true)
  await shared.close()
})

test('what a restore writes is in use until it has its name', limits, async (t) => {
  const { dir, path } = image(t)
  const writer = await openDriveWriter(path, { size: SIZE, force: true })
  const partial = readdirSync(dir).find((name) => name.endsWith('.partial'))!
  assert.equal(qemuMayWrite(join(dir, partial)), false)
  await assert.rejects(openDriveReader(join(dir, partial)), OUR_OWN)
  await writer.publish()
  await writer.close()
  assert.equal(qemuMayWrite(path), true)
})

test('a guest that starts on the old image meanwhile keeps it', limits, async (t) => {
  const { path, use } = image(t)
  const before = statSync(path).ino
  const writer = await openDriveWriter(path, { size: SIZE, force: true })
  await use()
  await assert.rejects(writer.publish(), IN_USE)
  await writer.close()
  assert.equal(statSync(path).ino, before)
})

test('what `vmapipe serve` has is in use', { timeout: 60_000 }, async (t) => {
  const { path } = image(t)
  const disk = await openDisk(path)
  await assert.rejects(openDriveReader(path), OUR_OWN)
  await assert.rejects(openDriveWriter(path, { size: SIZE, force: true }), OUR_OWN)
  await disk.close()
  await (await openDriveReader(path)).close()
})

test('a live restore does not replace an image that is in use', limits, async (t) => {
  const dir = tmpDir(t)
  const path = join(dir, 'disk-a.raw')
  writeFileSync(path, Buffer.alloc(SIZE))
  await useByQemu(t, dir, ['-f', 'raw'], path)
  const drives = [{ id: 1, name: 'a', size: SIZE }]
  const manifest = new Manifest({ uuid: Buffer.alloc(16, 1), ctime: 0, configs: [], drives })
  await assert.rejects(RestoreFolder.open(dir, manifest, { force: true }), IN_USE)
})

test('standard output that is an image in use takes no archive', limits, async (t) => {
  const { path, use } = image(t)
  await use()
  const fd = openSync(path, 'a')
  await assert.rejects(new OpenFileTarget(fd, 'standard output').open(), IN_USE)
  assert.equal(readFileSync(path).length, SIZE)
})

test('locks are told by /proc/locks too, if the file cannot be opened', limits, async (t) => {
  const { path, use } = image(t)
  const stats = statSync(path)
  assert.equal(isLockedBySomebody(stats, [101, 203]), false)
  await use()
  assert.equal(isLockedBySomebody(stats, [101]), true)
  assert.equal(isLockedBySomebody(stats, [102]), false)
  assert.equal(isLockedBySomebody(statSync(tmpDir(t)), [101]), false)
})

test('an image is in use through a loop device of it, and the other way round', {
  ...limits,
  ...needsLoopDevice,
}, async (t) => {
  const { dir, path } = image(t)
  const device = loopDevice(t, path)
  const attached = { code: 'FAILED', message: new RegExp(`^the image is in use: ${device} is a loop device of it$`) }
  await assert.rejects(openDisk(path), attached)
  await assert.rejects(openDriveWriter(path, { size: SIZE, force: true }), attached)
  await (await openDriveReader(path)).close()
  await useByQemu(t, dir, ['-f', 'raw'], device)
  await assert.rejects(openDriveReader(path), IN_USE)
  await assert.rejects(openDriveReader(device), IN_USE)
  await assert.rejects(openDriveWriter(device, { size: SIZE, force: true }), IN_USE)
  await assert.rejects(archiveTarget(device, { force: true }).open(), IN_USE)
})
