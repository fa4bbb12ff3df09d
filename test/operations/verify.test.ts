import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { describe, test } from 'node:test'
import { CLUSTER_SIZE } from '../../src/core/geometry.ts'
import { DamagedArchive } from '../../src/operations/archive-report.ts'
import { backup } from '../../src/operations/backup.ts'
import { verify } from '../../src/operations/verify.ts'
import { writeGuest } from '../cli/guest.ts'
import { piped } from '../support/content.ts'
import { forge } from '../support/forge.ts'
import { golden, goldenBytes, goldenPath, needsGolden } from '../support/golden.ts'
import { writeImage } from '../support/image.ts'
import { tmpDir } from '../support/tmp.ts'
import { needs } from '../support/tools.ts'

const timeout = 120_000
const from = (bytes: Buffer) => Readable.from([bytes])

/** An archive of two drives, the second of them of one cluster with data, and where its extents begin. */
async function twoDrives(t: Parameters<typeof tmpDir>[0], suffix = '', options = {}): Promise<Buffer> {
  const dir = tmpDir(t)
  const { disk, config } = writeGuest(dir)
  const to = join(dir, `a.vma${suffix}`)
  await backup({ drives: { 'drive-scsi0': disk, 'drive-scsi1': config }, to, ...options })
  return readFileSync(to)
}

async function damageOf(bytes: Buffer): Promise<DamagedArchive> {
  return verify({ from: from(bytes) }).then(
    () => assert.fail('it was found whole'),
    (error) => {
      assert.ok(error instanceof DamagedArchive, error)
      return error
    },
  )
}

describe('verify', { timeout }, () => {
  test('tells how much of the data a checksum covers', async (t) => {
    for (const suffix of ['', '.zst', '.lz4', '.gz']) {
      const whole = await verify({ from: from(await twoDrives(t, suffix)) })
      for (const { checked, clusters } of whole.drives) assert.equal(checked, clusters)
      const plain = await verify({ from: from(await twoDrives(t, suffix, { checksums: false })) })
      assert.deepEqual(
        plain.drives.map(({ checked }) => checked),
        [0, 0],
      )
      const { compression } = plain
      assert.equal(compression?.format, { '': undefined, '.zst': 'zstd', '.lz4': 'lz4', '.gz': 'gzip' }[suffix])
      if (compression !== null) assert.equal(compression.checked, compression.frames)
    }
  })

  test('goes on behind damage, and tells all of it, drive by drive', async (t) => {
    const archive = await twoDrives(t)
    const [first, second] = [12800, archive.indexOf('VMAE', 12801, 'latin1')]
    archive[first + 512 + 5] ^= 1
    archive[second + 20] ^= 1
    const { report, lines, suppressed, code } = await damageOf(archive)
    assert.equal(code, 'DAMAGED')
    assert.equal(report.damageCount, 4)
    assert.equal(suppressed.length, 3)
    assert.match(lines[0], /checksum of the data.*drive-scsi0 0 to 5[0-9]/)
    assert.match(lines[1], new RegExp(`checksum of the extent header is wrong \\(byte ${second}\\)`))
    for (const line of lines.slice(2)) assert.match(line, /clusters missing/)
    const [large, small] = report.drives
    assert.ok(large.damaged.bytes > 0 && large.missing.bytes > 0)
    assert.equal(large.damaged.ranges[0].offset, 0)
    for (const { bytes, ranges } of [large.damaged, large.missing])
      assert.equal(
        ranges.reduce((sum, { length }) => sum + length, 0),
        bytes,
      )
    assert.deepEqual(small.missing, { bytes: small.size, ranges: [{ offset: 0, length: small.size }] })
  })

  test('tells of an archive that was cut at any place, and which clusters it lost', async (t) => {
    const archive = await twoDrives(t)
    for (let length = archive.length - 1; length > 14_000; length -= 111_003) {
      const { report, code } = await damageOf(archive.subarray(0, length))
      assert.equal(code, 'INCOMPLETE')
      assert.equal(report.drives.length, 2)
      if (length < archive.length - 20_000) assert.ok(report.drives.some(({ missing }) => missing.bytes > 0))
    }
    const compressed = await twoDrives(t, '.zst')
    for (const length of [compressed.length - 1, compressed.length - 200, 300_000, 1000, 3])
      await assert.rejects(verify({ from: from(compressed.subarray(0, length)) }), { code: 'INCOMPLETE' }, `${length}`)
  })

  test('another archive behind the end damages nothing, also while the first one is still being decoded', {
    ...needs('lz4'),
    timeout,
  }, async (t) => {
    const dir = tmpDir(t)
    const archive = async (compress: string, text: number) => {
      const image = join(dir, `${compress}.raw`)
      writeImage(image, text, { text })
      await backup({ drives: { d: image }, to: join(dir, compress), compress })
      return readFileSync(join(dir, compress))
    }
    // One block, whose content is passed on when the frames behind it have been read.
    const first = piped('lz4', ['-c', '-BD', '-B5', '-BX'], await archive('none', 200_000))
    const both = Buffer.concat([first, await archive('lz4', 65_536)])
    for (let round = 0; round < 100; round++) {
      const warnings: string[] = []
      const { drives } = await verify({ from: from(both), threads: 2, warn: (text: string) => warnings.push(text) })
      assert.equal(drives.length, 1)
      assert.match(warnings.join(), new RegExp(`the archive ends at byte ${first.length};.*not part of it`))
    }
  })

  test('lists so many ranges, and knows the bytes of all', async () => {
    const clusters = 5000
    const extents = Array.from({ length: clusters / 2 }, (_, index) => [{ drive: 1, cluster: 2 * index, mask: 0 }])
    const { report } = await damageOf(forge({ drives: [{ id: 1, name: 'd', size: clusters * CLUSTER_SIZE }], extents }))
    const [{ missing }] = report.drives
    assert.equal(missing.ranges.length, 1000)
    assert.equal(missing.bytes, (clusters / 2) * CLUSTER_SIZE)
    assert.deepEqual(missing.ranges[1], { offset: 3 * CLUSTER_SIZE, length: CLUSTER_SIZE })
  })

  test('passes over nothing that was read from a stream of small pieces', async (t) => {
    const archive = await twoDrives(t, '.zst')
    const pieces = Array.from({ length: Math.ceil(archive.length / 1000) }, (_, index) =>
      archive.subarray(index * 1000, index * 1000 + 1000),
    )
    const { drives } = await verify({ from: Readable.from(pieces) })
    assert.equal(drives[0].checked, drives[0].clusters)
  })
})

describe('archives of the real tool', { ...needsGolden, timeout }, () => {
  for (const [name] of golden) {
    test(`${name} is whole, as far as its compression tells`, async () => {
      const { drives, compression } = await verify({ from: goldenPath(name) })
      for (const { checked, damaged, missing } of drives) assert.equal(checked + damaged.bytes + missing.bytes, 0)
      assert.equal(compression!.format, 'zstd')
    })
  }

  test('one that is not compressed is whole, and that its data could not be checked is known', async () => {
    const { drives, compression } = await verify({ from: from(goldenBytes('pve-like')) })
    assert.equal(compression, null)
    assert.ok(drives.length > 0 && drives.every(({ checked }) => checked === 0))
  })

  test('a damaged extent header of one costs that extent alone', async () => {
    const archive = Buffer.from(goldenBytes('c116'))
    const second = archive.indexOf('VMAE', archive.indexOf('VMAE', 0, 'latin1') + 512, 'latin1')
    archive[second + 40] ^= 1
    const { report } = await damageOf(archive)
    assert.equal(report.damageCount, 2)
    const [{ missing, damaged }] = report.drives
    assert.deepEqual([missing.bytes, damaged.bytes], [58 * CLUSTER_SIZE, 0])
  })
})
