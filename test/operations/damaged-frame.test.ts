import assert from 'node:assert/strict'
import { createCipheriv } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { CLUSTER_SIZE } from '../../src/core/geometry.ts'
import { DamagedArchive } from '../../src/operations/archive-report.ts'
import { backup } from '../../src/operations/backup.ts'
import { verify } from '../../src/operations/verify.ts'
import { tmpDir } from '../support/tmp.ts'

const timeout = 60_000
/** Three full extents. */
const CLUSTERS = 3 * 58
const CONTENT = createCipheriv('aes-128-ctr', Buffer.alloc(16, 7), Buffer.alloc(16)).update(
  Buffer.alloc(CLUSTERS * CLUSTER_SIZE),
)
const EXTENT_2 = { offset: 58 * CLUSTER_SIZE, length: 58 * CLUSTER_SIZE }
const MAGIC = Buffer.from('28b52ffd', 'hex')

async function archive(t: Parameters<typeof tmpDir>[0], suffix: string, options = {}) {
  const dir = tmpDir(t)
  const disk = join(dir, 'disk.raw')
  const path = join(dir, `a.vma${suffix}`)
  writeFileSync(disk, CONTENT)
  const compress = suffix === '' ? undefined : 'zstd,frame=1MiB'
  await backup({ drives: { 'drive-scsi0': disk }, to: path, compress, ...options })
  return { path, bytes: readFileSync(path) }
}

/** The ranges of the drive that are damaged or missing. */
async function found(path: string, bytes: Buffer) {
  writeFileSync(path, bytes)
  const error = await verify({ from: path }).then(
    () => assert.fail('it is said to be whole'),
    (reason) => reason,
  )
  assert.ok(error instanceof DamagedArchive, error)
  const [{ damaged, missing }] = error.report.drives
  return { damaged: damaged.ranges, missing: missing.ranges }
}

/** Offsets of all frames: that of the header, then four for each extent. */
function frames(bytes: Buffer): number[] {
  const places: number[] = []
  for (let at = bytes.indexOf(MAGIC); at >= 0; at = bytes.indexOf(MAGIC, at + 1)) places.push(at)
  assert.ok(places.length >= 13, `${places.length} frames`)
  return places
}

describe('the damaged frame of the map (src/README.md)', () => {
  test('that cannot be decoded costs its extent, which is missing', { timeout }, async (t) => {
    const { path, bytes } = await archive(t, '.zst')
    bytes[frames(bytes)[7] + MAGIC.length] ^= 0xff
    assert.deepEqual(await found(path, bytes), { damaged: [], missing: [EXTENT_2] })
  })

  for (const checksums of [true, false]) {
    test(`with a wrong bit makes its extent suspect, ${checksums ? 'with' : 'without'} checksums`, {
      timeout,
    }, async (t) => {
      const { path, bytes } = await archive(t, '.zst', { checksums, index: checksums })
      bytes[frames(bytes)[7] + 500_000] ^= 1
      assert.deepEqual(await found(path, bytes), { damaged: [EXTENT_2], missing: [] })
    })
  }

  test('and bytes that were cut out of an extent cost that extent alone', { timeout }, async (t) => {
    const { path, bytes } = await archive(t, '')
    const second = bytes.indexOf('VMAE', bytes.indexOf('VMAE') + 4)
    const cut = Buffer.concat([bytes.subarray(0, second + 1_000_000), bytes.subarray(second + 1_065_536)])
    assert.deepEqual(await found(path, cut), { damaged: [], missing: [EXTENT_2] })
  })
})
