import assert from 'node:assert/strict'
import { readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { openDisk } from '../../../src/storage/open-disk.ts'
import { loopDevice, needsLoopDevice } from '../../support/loop-device.ts'
import { tmpDir } from '../../support/tmp.ts'
import { readerContract, writerContract } from '../contract.ts'
import { asReader, asWriter } from './as-drive.ts'

const timeout = 60_000
const MiB = 2 ** 20
const SIZE = 5 * MiB + 4096

readerContract('block device disk', {
  ...needsLoopDevice,
  size: SIZE,
  async open(t, content) {
    const path = join(tmpDir(t), 'disk')
    writeFileSync(path, content)
    return asReader(await openDisk(loopDevice(t, path)))
  },
})

writerContract('block device disk', {
  ...needsLoopDevice,
  size: SIZE,
  async open(t, size) {
    const path = join(tmpDir(t), 'disk')
    writeFileSync(path, Buffer.alloc(size, 0x5a))
    const device = loopDevice(t, path)
    return { writer: asWriter(await openDisk(device)), content: async () => readFileSync(device) }
  },
})

test('a block device: durable writes, zeroes with and without holes, trims that give space back', {
  timeout,
  ...needsLoopDevice,
}, async (t) => {
  const path = join(tmpDir(t), 'disk')
  writeFileSync(path, Buffer.alloc(8 * MiB, 1))
  const device = loopDevice(t, path)
  const disk = await openDisk(device)
  t.after(() => disk.close())
  const expected = Buffer.alloc(8 * MiB, 1)
  await disk.write([Buffer.from('durable')], 1001, { fua: true })
  expected.write('durable', 1001)
  await disk.zero(4096 * 3 + 5, MiB, { noHole: true })
  expected.fill(0, 4096 * 3 + 5, 4096 * 3 + 5 + MiB)
  await disk.zero(3 * MiB, MiB, { fast: true, fua: true })
  expected.fill(0, 3 * MiB, 4 * MiB)
  await assert.rejects(async () => disk.zero(5 * MiB, MiB, { fast: true, noHole: true }), {
    cause: Object.assign(new Error('zeroes would have to be written'), { code: 'ENOTSUP' }),
  })
  await disk.flush()
  assert.ok(readFileSync(device).equals(expected))
  const before = statSync(path).blocks
  await disk.trim(5 * MiB + 100, 2 * MiB)
  await disk.flush()
  assert.ok(statSync(path).blocks < before - (MiB / 512) * 1.9)
  assert.ok(
    readFileSync(device)
      .subarray(0, 5 * MiB + 100)
      .equals(expected.subarray(0, 5 * MiB + 100)),
  )
})

test('a block device that another program has for itself is refused', { timeout, ...needsLoopDevice }, async (t) => {
  const path = join(tmpDir(t), 'disk')
  writeFileSync(path, Buffer.alloc(MiB))
  const device = loopDevice(t, path)
  const disk = await openDisk(device)
  await assert.rejects(openDisk(device))
  await disk.close()
  await (await openDisk(device)).close()
})
