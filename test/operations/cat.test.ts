import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { createReadStream, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { PassThrough, Writable } from 'node:stream'
import { after, describe, test } from 'node:test'
import { Counters } from '../../src/core/counters.ts'
import { cat } from '../../src/operations/cat.ts'
import { archiveOf, patchyImage } from '../access/made-archive.ts'
import { golden, goldenBytes, goldenPath, needsGolden } from '../support/golden.ts'
import { seeded } from '../support/random.ts'
import { tmpDir } from '../support/tmp.ts'

const limits = { timeout: 120_000 }

/** What is written to `to`, as the digest that is recorded. */
function hashing(): { to: Writable; digest: () => string } {
  const sum = createHash('sha256')
  const to = new Writable({
    write(bytes, _, done) {
      sum.update(bytes)
      done()
    },
  })
  return { to, digest: () => sum.digest('hex') }
}

describe('every archive of the real tool, drive by drive', needsGolden, () => {
  const dir = tmpDir({ after })
  for (const [name, { drives }] of golden) {
    test(`${name}: uncompressed, and compressed through a spool`, { timeout: 180_000 }, async () => {
      const plain = join(dir, name)
      writeFileSync(plain, goldenBytes(name))
      // The whole archive is unpacked once a drive; to hash one of 4 GiB once is enough.
      const spooled = drives.slice(0, 3).filter(({ inputSize }) => inputSize < 2 ** 30)
      for (const [from, wanted] of [
        [plain, drives],
        [goldenPath(name), spooled],
      ] as const)
        for (const { name: drive, inputSize, inputSha256 } of wanted) {
          const { to, digest } = hashing()
          assert.equal(await cat({ from, drive, to, spool: dir }), inputSize)
          assert.equal(digest(), inputSha256, drive)
        }
    })
  }
})

describe('cat', limits, () => {
  const image = patchyImage(8_000_001)

  const catted = async (options: Omit<Parameters<typeof cat>[0], 'to' | 'drive'>) => {
    const parts: Buffer[] = []
    const to = new Writable({
      write(bytes: Buffer, _, done) {
        parts.push(Buffer.from(bytes))
        done()
      },
    })
    const bytes = await cat({ drive: 'drive-scsi0', to, ...options })
    const whole = Buffer.concat(parts)
    assert.equal(whole.length, bytes)
    return whole
  }

  for (const method of ['none', 'zstd', 'lz4', 'gzip'] as const)
    test(`writes a drive in order, or a part of it, whatever the order in the archive (${method})`, async (t) => {
      const from = join(tmpDir(t), 'a')
      writeFileSync(from, await archiveOf([image], { method, random: seeded(5), frame: 1 << 20 }))
      assert.ok((await catted({ from })).equals(image))
      for (const [offset, length] of [
        [0, 1],
        [65_535, 2],
        [1_000_003, 4_000_000],
        [image.length - 1, 1],
        [image.length, 0],
      ])
        assert.ok((await catted({ from, offset, length })).equals(image.subarray(offset, offset + length)), `${offset}`)
      assert.ok((await catted({ from, offset: 7_000_000 })).equals(image.subarray(7_000_000)))
    })

  test('writes what came through a pipe, and leaves nothing behind', async (t) => {
    const dir = tmpDir(t)
    const path = join(dir, 'a')
    writeFileSync(path, await archiveOf([image, image], { method: 'zstd' }))
    const spool = join(dir, 'spool')
    assert.ok(
      (await catted({ from: createReadStream(path), spool, offset: 5, length: 3_000_000 })).equals(
        image.subarray(5, 3_000_005),
      ),
    )
    assert.deepEqual(readdirSync(spool), [])
  })

  test('counts what it read and wrote', async (t) => {
    const from = join(tmpDir(t), 'a')
    writeFileSync(from, await archiveOf([image]))
    const counters = new Counters()
    await catted({ from, counters, length: 4_000_000 })
    const { total, done, written, read } = counters.toJSON()
    assert.ok(read > 100_000 && read < image.length, `${read}`)
    assert.deepEqual([total, done, written], [4_000_000, 4_000_000, 4_000_000])
  })

  test('refuses what the archive does not have, before a byte is written', async (t) => {
    const from = join(tmpDir(t), 'a')
    writeFileSync(from, await archiveOf([image]))
    for (const [options, line] of [
      [{ drive: 'scsi7' }, /no drive 'scsi7'; it has drive-scsi0/],
      [{ offset: image.length + 1 }, /the drive has 8000001 bytes/],
      [{ offset: 1, length: image.length }, /bytes 1 to 8000002/],
    ] as const) {
      const to = new PassThrough()
      await assert.rejects(cat({ from, drive: 'drive-scsi0', to, ...options }), { code: 'USAGE', line })
      assert.equal(to.read(), null)
    }
  })

  test('ends with an error at the damage, having written what comes before', async (t) => {
    const bytes = await archiveOf([image])
    bytes[bytes.length >> 1] ^= 1
    const from = join(tmpDir(t), 'a')
    writeFileSync(from, bytes)
    let written = 0
    const to = new Writable({
      write(part: Buffer, _, done) {
        assert.equal(Buffer.compare(part, image.subarray(written, written + part.length)), 0)
        written += part.length
        done()
      },
    })
    await assert.rejects(cat({ from, drive: 'drive-scsi0', to }), {
      code: 'DAMAGED',
      line: /drive drive-scsi0, cluster \d+/,
    })
    assert.ok(written > 1_000_000)
  })

  test('ends when it is told to, though nobody reads', async (t) => {
    const from = join(tmpDir(t), 'a')
    writeFileSync(from, await archiveOf([image]))
    const controller = new AbortController()
    const to = new Writable({ write: () => setImmediate(() => controller.abort()) })
    await assert.rejects(cat({ from, drive: 'drive-scsi0', to, signal: controller.signal }), { code: 'ABORTED' })
  })
})
