import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { BLOCK_SIZE, CLUSTER_SIZE, clusterCount } from '../../src/core/geometry.ts'
import type { DriveReader } from '../../src/storage/drive.ts'
import { collect } from '../storage/contract.ts'
import { archiveOf, opened, patchyImage } from './made-archive.ts'

const limits = { timeout: 60_000 }

const IMAGE = patchyImage(20_000_000)
const NAME = 'drive-scsi0'

/** Where extents with data begin. */
function extentsIn(archive: Buffer): number[] {
  const found: number[] = []
  for (let at = archive.readUInt32BE(56); at < archive.length; at += 512 + archive.readUInt16BE(at + 6) * BLOCK_SIZE)
    if (archive.readUInt16BE(at + 6) > 0) found.push(at)
  return found
}

/** The clusters that cannot be read; all others must be right. */
async function lost(drive: DriveReader, image: Buffer): Promise<Map<number, any>> {
  const errors = new Map<number, any>()
  for (let cluster = 0; cluster < clusterCount(image.length); cluster++) {
    const at = cluster * CLUSTER_SIZE
    const buffer = Buffer.alloc(Math.min(CLUSTER_SIZE, image.length - at))
    try {
      await drive.read(buffer, at)
    } catch (error) {
      errors.set(cluster, error)
      continue
    }
    assert.ok(buffer.equals(image.subarray(at, at + buffer.length)), `cluster ${cluster}`)
  }
  return errors
}

describe('damage is an error of the clusters that it touches, which says where it is', () => {
  test('in the data of an extent', limits, async (t) => {
    const bytes = await archiveOf([IMAGE])
    const [, extent] = extentsIn(bytes)
    bytes[extent + 512 + 5000] ^= 1
    const { archive, warnings } = await opened(t, bytes)
    const drive = archive.drive(NAME)
    const errors = await lost(drive, IMAGE)
    assert.ok(errors.size > 0 && errors.size <= 58, `${errors.size}`)
    for (const [cluster, error] of errors) {
      assert.equal(error.code, 'DAMAGED')
      assert.deepEqual(error.where, { cluster, drive: NAME, offset: extent })
      assert.match(error.line, /checksum of the data/)
    }
    assert.deepEqual(warnings, [])
    // Again, and by many at once.
    const [first] = errors.keys()
    const again = Array.from({ length: 5 }, () => drive.read(Buffer.alloc(9), first * CLUSTER_SIZE))
    for (const { status } of await Promise.allSettled(again)) assert.equal(status, 'rejected')
  })

  test('in the header of an extent; its holes are then not reported as zero', limits, async (t) => {
    const bytes = await archiveOf([IMAGE])
    const [, extent] = extentsIn(bytes)
    bytes[extent + 100] ^= 1
    const { archive } = await opened(t, bytes)
    const drive = archive.drive(NAME)
    const errors = await lost(drive, IMAGE)
    assert.equal(errors.size, 58)
    for (const { where, line } of errors.values()) {
      assert.equal(where.offset, extent)
      assert.match(line, /checksum of the extent header/)
    }
    for (const { offset, length, zero } of await collect(drive.map(0, IMAGE.length)))
      for (let at = offset; zero && at < offset + length; at += CLUSTER_SIZE)
        assert.ok(!errors.has(Math.floor(at / CLUSTER_SIZE)), `${at}`)
  })

  for (const method of ['zstd', 'lz4', 'gzip'] as const)
    test(`in a ${method} frame`, limits, async (t) => {
      const bytes = await archiveOf([IMAGE], { method, frame: 1 << 20 })
      const middle = bytes.length >> 1
      bytes[middle] ^= 4
      const { archive } = await opened(t, bytes)
      const errors = await lost(archive.drive(NAME), IMAGE)
      assert.ok(errors.size > 0 && errors.size < 80, `${errors.size}`)
      for (const { code, where } of errors.values()) {
        assert.equal(code, 'DAMAGED')
        assert.ok(where.offset <= middle)
      }
    })
})

describe('an archive that was cut', () => {
  for (const method of ['none', 'zstd'] as const)
    test(
      `${method === 'none' ? 'plain' : method}: what it has can be read, what it lacks is INCOMPLETE`,
      limits,
      async (t) => {
        const whole = await archiveOf([IMAGE], { method, frame: 1 << 18 })
        const bytes = whole.subarray(0, whole.length >> 1)
        const { archive, warnings } = await opened(t, bytes)
        const [last] = warnings.slice(-1)
        assert.match(last, /^extents behind this are not found: the archive ends within an extent/)
        if (method === 'zstd') assert.match(warnings[0], /^frames behind this are not found: the archive ends within a/)
        const errors = await lost(archive.drive(NAME), IMAGE)
        assert.ok(errors.size > 58 && errors.size < 200)
        for (const { code, where } of errors.values()) {
          assert.equal(code, 'INCOMPLETE')
          assert.equal(where.drive, NAME)
        }
      },
    )

  test('of its end alone has all that it ever had', limits, async (t) => {
    const bytes = await archiveOf([IMAGE])
    const { archive } = await opened(t, bytes.subarray(0, -512))
    assert.equal((await lost(archive.drive(NAME), IMAGE)).size, 0)
  })
})
