import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { constants, mkdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { openDriveReader, openDriveWriter } from '../../src/storage/open.ts'
import { loopDevice, needsLoopDevice } from '../support/loop-device.ts'
import { tmpDir } from '../support/tmp.ts'
import { lacking, which } from '../support/tools.ts'
import { readerContract, writerContract } from './contract.ts'

const timeout = 60_000

const { skip } = needsLoopDevice
const SECTOR = 512

readerContract('block device', {
  skip,
  async open(t, image) {
    const path = join(tmpDir(t as TestContext), 'disk')
    writeFileSync(path, image)
    return openDriveReader(loopDevice(t as TestContext, path))
  },
})

writerContract('block device', {
  skip,
  async open(t, size) {
    const path = join(tmpDir(t as TestContext), 'disk')
    writeFileSync(path, Buffer.alloc(size, 0x5a))
    const device = loopDevice(t as TestContext, path)
    return { writer: await openDriveWriter(device, { size, force: true }), content: async () => readFileSync(device) }
  },
})

test('block device: a smaller one is refused, of a larger one the rest is left alone', { timeout, skip }, async (t) => {
  const path = join(tmpDir(t), 'disk')
  writeFileSync(path, Buffer.alloc(2048 * SECTOR, 7))
  const device = loopDevice(t, path)
  const tooBig = { code: 'USAGE', message: /has 1048576 bytes, the drive 1048577/ }
  await assert.rejects(openDriveWriter(device, { size: 2048 * SECTOR + 1, force: true }), tooBig)
  const size = 1000 * SECTOR + 3
  const writer = await openDriveWriter(device, { size, isZero: false, force: true })
  await writer.zero(0, size)
  await writer.flush()
  await writer.publish()
  await writer.close()
  const expected = Buffer.alloc(2048 * SECTOR, 7).fill(0, 0, size)
  assert.ok(readFileSync(device).equals(expected))
})

test('block device: zeroing gives space back where the device can', { timeout, skip }, async (t) => {
  const path = join(tmpDir(t), 'disk')
  const size = 8 * 2 ** 20
  writeFileSync(path, Buffer.alloc(size, 1))
  const device = loopDevice(t, path)
  const writer = await openDriveWriter(device, { size, force: true })
  await writer.zero(0, size)
  await writer.flush()
  await writer.close()
  const blocks = Number(execFileSync('stat', ['--format=%b', path], { encoding: 'utf8' }))
  assert.ok(blocks * 512 < size / 2, `${blocks} blocks are still allocated`)
  assert.ok(readFileSync(device).equals(Buffer.alloc(size)))
})

test('block device: one that is mounted is not written', { timeout, skip }, async (t) => {
  if (spawnSync('mkfs.ext4', ['-V']).error) return lacking(t, 'needs mkfs.ext4')
  const dir = tmpDir(t)
  const path = join(dir, 'disk')
  writeFileSync(path, '')
  truncateSync(path, 16 * 2 ** 20)
  execFileSync('mkfs.ext4', ['-q', '-F', path], { stdio: 'ignore' })
  const device = loopDevice(t, path)
  mkdirSync(join(dir, 'mnt'))
  const { status } = spawnSync('mount', [device, join(dir, 'mnt')])
  if (status !== 0) return lacking(t, 'cannot mount here')
  try {
    await assert.rejects(openDriveWriter(device, { size: 1000, force: true }), { message: /in use: it is mounted on / })
  } finally {
    execFileSync('umount', [join(dir, 'mnt')])
  }
})

test('block device: one that holds something is written by force only, an empty one without', {
  timeout,
  skip,
}, async (t) => {
  const path = join(tmpDir(t), 'disk')
  writeFileSync(path, Buffer.alloc(2 ** 20))
  const device = loopDevice(t, path)
  const options = { size: 2 ** 20 }
  const writer = await openDriveWriter(device, options)
  await writer.write([Buffer.alloc(512, 'x')], 2 ** 20 - 512)
  await writer.flush()
  await writer.close()
  const full = { code: 'FAILED', message: /the device is not empty.*it has data/, hint: /--force/ }
  await assert.rejects(openDriveWriter(device, options), full)
  await (await openDriveWriter(device, { ...options, force: true })).close()
})

test('block device: swap space, and one that somebody else has claimed, are never written', {
  timeout,
  skip,
}, async (t) => {
  const path = join(tmpDir(t), 'disk')
  writeFileSync(path, Buffer.alloc(2 ** 20))
  const device = loopDevice(t, path)
  const claim = await open(device, constants.O_RDWR | constants.O_EXCL)
  const options = { size: 4096, force: true }
  await assert.rejects(openDriveWriter(device, options), { code: 'FAILED', message: /in use: something claims it/ })
  await claim.close()
  if (spawnSync(which('mkswap') ?? 'mkswap', [device]).status !== 0) return lacking(t, 'needs mkswap')
  if (spawnSync(which('swapon') ?? 'swapon', [device]).status !== 0) return lacking(t, 'needs a kernel that swaps')
  try {
    await assert.rejects(openDriveWriter(device, options), { code: 'FAILED', message: /in use: it is swap space/ })
  } finally {
    spawnSync(which('swapoff')!, [device])
  }
})

test('block device: no image of a format is made over one', { timeout, skip }, async (t) => {
  const path = join(tmpDir(t), 'disk')
  writeFileSync(path, Buffer.alloc(2 ** 20))
  const device = loopDevice(t, path)
  for (const force of [false, true]) {
    const refused = { code: 'USAGE', message: /is a block device, which takes a raw image only/ }
    await assert.rejects(openDriveWriter(`qcow2:${device}`, { size: 4096, force }), refused)
  }
})
