/** One changed bit anywhere in an archive of ours is found, in every compression; all exceptions are listed here. */

import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { PassThrough, Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { describe, test } from 'node:test'
import { VmapipeError } from '../../src/core/errors.ts'
import { BLOCK_SIZE, CLUSTER_SIZE } from '../../src/core/geometry.ts'
import { backup } from '../../src/operations/backup.ts'
import { verify } from '../../src/operations/verify.ts'
import { halfCompressible } from '../support/content.ts'
import { tmpDir } from '../support/tmp.ts'

const EVERY = 101

/** Bytes of an archive that may change without anybody noticing. There are none. */
const EXCEPTIONS: number[] = []

/** Mostly zeroes, so that it is small: every fourth cluster has a block of data. It ends within a block. */
function drive(clusters: number): Buffer {
  const bytes = Buffer.alloc(clusters * CLUSTER_SIZE - 1000)
  for (let cluster = 0; cluster < clusters; cluster += 4) {
    const at = cluster * CLUSTER_SIZE + (cluster % 16) * BLOCK_SIZE
    halfCompressible(BLOCK_SIZE, cluster + 1).copy(bytes, at)
  }
  bytes.write('the end', bytes.length - 10)
  return bytes
}

async function archiveOf(dir: string, image: Buffer, compress: string): Promise<Buffer> {
  const disk = join(dir, 'disk.raw')
  const config = join(dir, 'qemu-server.conf')
  writeFileSync(disk, image)
  writeFileSync(config, 'cores: 2\n')
  const to = new PassThrough()
  const drives = { 'drive-scsi0': disk }
  const [archive] = await Promise.all([
    buffer(to),
    backup({ drives, configs: { 'qemu-server.conf': config }, to, compress }),
  ])
  return archive
}

/** Whether verify says that the archive is not what was written. */
async function isFound(archive: Buffer): Promise<boolean> {
  try {
    await verify({ from: Readable.from([archive]), buffer: 32 << 20, threads: 2 })
    return false
  } catch (error) {
    if (error instanceof VmapipeError && error.exitCode === 3) return true
    throw error
  }
}

describe('a changed bit is found in an archive', () => {
  for (const clusters of [58, 200]) {
    for (const compress of ['none', 'zstd', 'lz4', 'gzip']) {
      const name = `of ${clusters} clusters, compression ${compress}, in every ${EVERY}st byte`
      test(name, { timeout: 240_000 }, async (t) => {
        const archive = await archiveOf(tmpDir(t), drive(clusters), compress)
        assert.equal(await isFound(archive), false)
        const missed: number[] = []
        for (let at = 0; at < archive.length; at += EVERY) {
          const bit = 1 << ((at / EVERY) % 8)
          archive[at] ^= bit
          if (!(await isFound(archive))) missed.push(at)
          archive[at] ^= bit
        }
        assert.deepEqual(missed, EXCEPTIONS)
        assert.equal(await isFound(archive), false)
        t.diagnostic(`${Math.ceil(archive.length / EVERY)} of ${archive.length} bytes`)
      })
    }
  }

  test('in a gzip member behind the content, which is decoded sooner than the content is', {
    timeout: 240_000,
  }, async (t) => {
    const archive = await archiveOf(tmpDir(t), halfCompressible(50 * CLUSTER_SIZE, 7), 'gzip,frame=4MiB')
    // Our map of the members and the footer are members of their own.
    const last = archive.lastIndexOf(Buffer.from([0x1f, 0x8b, 8, 4]))
    const missed: string[] = []
    // The time, the kind of compression and the system: gzip itself does not look at them.
    for (let at = last + 4; at < last + 10; at++)
      for (let bit = 0; bit < 8; bit++) {
        archive[at] ^= 1 << bit
        if (!(await isFound(archive))) missed.push(`${at - last}.${bit}`)
        archive[at] ^= 1 << bit
      }
    assert.deepEqual(missed, [])
  })
})
