import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { Budget } from '../../src/core/budget.ts'
import { CLUSTER_SIZE } from '../../src/core/geometry.ts'
import { ArchiveFile } from '../../src/storage/archive/archive-file.ts'
import { seed, seeded } from '../support/random.ts'
import { archiveOf, opened } from './made-archive.ts'

const limits = { timeout: 60_000 }

const NAME = 'drive-scsi0'
const CLUSTERS = 200
/** Every second cluster is noise, which zstd stores as it is: a wrong bit of it is decoded without an error. */
const IMAGE = Buffer.alloc(CLUSTERS * CLUSTER_SIZE)
const random = seeded(11)
for (let at = 0; at < IMAGE.length; at++)
  IMAGE[at] = Math.floor(at / CLUSTER_SIZE) % 2 ? 1 + Math.floor(random() * 255) : 65 + (at % 7)

async function readOf(bytes: Buffer, t: Parameters<typeof opened>[0], cluster: number, counted: { bytes: number }) {
  const { archive } = await opened(t, bytes)
  const drive = archive.drive(NAME)
  const buffer = Buffer.alloc(4096)
  await drive.read(buffer, 150 * CLUSTER_SIZE)
  const { read } = ArchiveFile.prototype
  t.after(() => {
    ArchiveFile.prototype.read = read
  })
  ArchiveFile.prototype.read = function (into, offset) {
    counted.bytes += into.byteLength
    return read.call(this, into, offset)
  }
  await drive.read(buffer, cluster * CLUSTER_SIZE)
  ArchiveFile.prototype.read = read
  assert.ok(buffer.equals(IMAGE.subarray(cluster * CLUSTER_SIZE, cluster * CLUSTER_SIZE + 4096)))
}

describe('of a large zstd frame as much is decoded as is in front of what is read', () => {
  test('and no more of the file is read', limits, async (t) => {
    const bytes = await archiveOf([IMAGE], { method: 'zstd' })
    const [early, late] = [{ bytes: 0 }, { bytes: 0 }]
    await readOf(bytes, t, 66, early)
    await readOf(bytes, t, 115, late)
    assert.ok(early.bytes > 0 && early.bytes < late.bytes / 2, `${early.bytes} of ${late.bytes}`)
  })

  test('it goes on from there, and many read it at once', limits, async (t) => {
    const { archive } = await opened(t, await archiveOf([IMAGE], { method: 'zstd' }), { budget: new Budget(24 << 20) })
    const drive = archive.drive(NAME)
    const places = Array.from({ length: 300 }, () => Math.floor(random() * (IMAGE.length - 9000)))
    const read = async (at: number) => {
      const buffer = Buffer.alloc(9000)
      await drive.read(buffer, at)
      assert.ok(buffer.equals(IMAGE.subarray(at, at + 9000)), `${at}`)
    }
    for (const at of places.slice(0, 100)) await read(at)
    await Promise.all(places.slice(100).map(read))
  })

  test(`a wrong bit is never given, and spoils nothing in front of it (seed ${seed})`, limits, async (t) => {
    const bytes = await archiveOf([IMAGE], { method: 'zstd' })
    const chance = seeded(seed)
    let refused = 0
    for (let round = 0; round < 6; round++) {
      const damaged = Buffer.from(bytes)
      // In the data: the archive's header is in the first frame, and its index at the end.
      const place = Math.floor(bytes.length * (0.1 + 0.8 * chance()))
      damaged[place] ^= 1 << Math.floor(chance() * 8)
      const { archive } = await opened(t, damaged)
      const drive = archive.drive(NAME)
      for (let turn = 0; turn < CLUSTERS; turn++) {
        // In steps forward of 35 clusters and more: a reader that goes on by less gets whole frames in advance.
        const cluster = (turn * 47) % CLUSTERS
        const buffer = Buffer.alloc(CLUSTER_SIZE)
        const at = cluster * CLUSTER_SIZE
        const outcome = await drive.read(buffer, at).catch((error) => error)
        if (outcome === undefined) assert.ok(buffer.equals(IMAGE.subarray(at, at + CLUSTER_SIZE)), `cluster ${cluster}`)
        else {
          assert.equal(outcome.code, 'DAMAGED', outcome.stack)
          refused++
        }
      }
      await archive.close()
    }
    assert.ok(refused > 0 && refused < (6 * CLUSTERS) / 4, `${refused} were refused`)
  })

  test('in front of the damage everything can be read', limits, async (t) => {
    const bytes = await archiveOf([IMAGE], { method: 'zstd' })
    // Near the end of the second extent, clusters 58 to 115.
    bytes[Math.floor((bytes.length * 113) / CLUSTERS)] ^= 1
    const { archive } = await opened(t, bytes)
    const drive = archive.drive(NAME)
    const buffer = Buffer.alloc(CLUSTER_SIZE)
    for (const cluster of [90, 70, 58]) {
      await drive.read(buffer, cluster * CLUSTER_SIZE)
      assert.ok(buffer.equals(IMAGE.subarray(cluster * CLUSTER_SIZE, (cluster + 1) * CLUSTER_SIZE)))
    }
    await assert.rejects(drive.read(buffer, 113 * CLUSTER_SIZE), { code: 'DAMAGED' })
  })
})
