import assert from 'node:assert/strict'
import { copyFileSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { crc32 } from 'node:zlib'
import { type EncodedPages, MapFile } from '../../../../src/storage/disks/overlay/map-file.ts'
import { openOverlay } from '../../../../src/storage/disks/overlay/open-overlay.ts'
import { OverlayDisk } from '../../../../src/storage/disks/overlay/overlay-disk.ts'
import { OverlayMap } from '../../../../src/storage/disks/overlay/overlay-map.ts'
import type { DriveReader } from '../../../../src/storage/drive.ts'
import { openRawReader } from '../../../../src/storage/raw-drive.ts'
import { seed, seeded } from '../../../support/random.ts'
import { tmpDir } from '../../../support/tmp.ts'
import { checkExtents, collect, readerContract, sampleImage, writerContract } from '../../contract.ts'
import { asReader, asWriter } from '../as-drive.ts'
import { contentOf, damage, identityOf, overlayOver, reopen } from './overlays.ts'

const limits = { timeout: 60_000 }
const MiB = 2 ** 20

readerContract('an overlay without changes', {
  sparse: true,
  open: async (t, image) => asReader((await overlayOver(tmpDir(t), image)).disk),
})

readerContract('an overlay with changes', {
  open: async (t, image) => {
    const { disk } = await overlayOver(tmpDir(t), Buffer.alloc(image.length, 0x55))
    await disk.write([image], 0)
    return asReader(disk)
  },
})

writerContract('an overlay', {
  open: async (t, size) => {
    const dir = tmpDir(t)
    const { disk } = await overlayOver(dir, sampleImage(size).reverse())
    const content = async () => {
      const again = (await reopen(dir)).disk
      return contentOf(again).finally(() => again.close())
    }
    return { writer: asWriter(disk), content }
  },
})

describe('an overlay', () => {
  test('has what was written, and elsewhere what is below, whatever comes at once', limits, async (t) => {
    const dir = tmpDir(t)
    const model = sampleImage(3 * MiB + 777)
    const { disk } = await overlayOver(dir, model)
    const random = seeded(seed)
    const below = (n: number) => Math.floor(random() * n)
    t.diagnostic(`seed ${seed}`)
    for (let round = 0; round < 60; round++) {
      // Pieces of different bytes, which meet inside of blocks, all at once.
      const cuts = Array.from({ length: 12 }, () => below(model.length)).sort((a, b) => a - b)
      await Promise.all(
        cuts.slice(1).map(async (to, index) => {
          const from = round % 3 === 0 ? cuts[index] : Math.max(cuts[index], to - below(9000))
          const piece = model.subarray(from, to)
          const fua = below(6) === 0
          const what = below(5)
          if (what === 0) await disk.zero(from, piece.length, { fua, noHole: below(2) === 0 })
          else if (what < 4) await disk.write([Buffer.alloc(piece.length, round)], from, { fua })
          if (what === 0) piece.fill(0)
          else if (what < 4) piece.fill(round)
        }),
      )
      const [from, to] = [below(model.length), below(model.length)].sort((a, b) => a - b)
      const bytes = Buffer.alloc(to - from)
      await disk.read(bytes, from)
      assert.ok(bytes.equals(model.subarray(from, to)), `round ${round}, ${from} to ${to}`)
      if (round % 10 === 0) checkExtents(await collect(disk.map(0, disk.size)), model, 0, disk.size)
    }
    await disk.flush()
    await disk.close()
    const again = await reopen(dir)
    assert.ok((await contentOf(again.disk)).equals(model), 'the same after it was opened again')
    await again.disk.close()
  })

  test('leaves alone what is below, and is as sparse as the changes are', limits, async (t) => {
    const dir = tmpDir(t)
    const image = sampleImage()
    const { disk } = await overlayOver(dir, image)
    await disk.write([Buffer.alloc(5000, 1)], 3 * MiB + 10)
    await disk.flush()
    assert.ok(readFileSync(join(dir, 'base')).equals(image))
    assert.equal(statSync(join(dir, 'o')).size, image.length)
    assert.ok(statSync(join(dir, 'o')).blocks * 512 <= 65536)
    for (const file of ['o', 'o-map', 'o-recent']) assert.equal(statSync(join(dir, file)).mode & 0o777, 0o600)
    await disk.close()
  })

  test('reads zeroes, as holes, where whole blocks were trimmed', limits, async (t) => {
    const image = Buffer.alloc(MiB, 0x33)
    const { disk } = await overlayOver(tmpDir(t), image)
    await disk.trim(100, 3 * 65536)
    const expected = Buffer.from(image).fill(0, 4096, 3 * 65536)
    assert.ok((await contentOf(disk)).equals(expected))
    assert.deepEqual((await collect(disk.map(0, MiB))).filter(({ zero }) => zero).length, 1)
    await disk.close()
  })

  test('refuses zeroes at once that would need a block from below', limits, async (t) => {
    const { disk } = await overlayOver(tmpDir(t), sampleImage())
    assert.throws(() => disk.zero(100, 8192, { fast: true }), { code: 'ENOTSUP' })
    await disk.zero(4096, 8192, { fast: true })
    await disk.close()
  })

  test('tells in its map of no block that is not durable', limits, async (t) => {
    const dir = tmpDir(t)
    const image = sampleImage()
    await (await overlayOver(dir, image)).disk.close()
    const files = await openOverlay(join(dir, 'o'), identityOf(image.length))
    let atFlush = () => {}
    const flushing = new Promise<void>((resolve) => {
      atFlush = resolve
    })
    let go = () => {}
    const blocks = Object.create(files.blocks, {
      flush: {
        value: async () => {
          atFlush()
          await new Promise<void>((resolve) => {
            go = resolve
          })
          await files.blocks.flush()
        },
      },
      write: { value: (...args: Parameters<typeof files.blocks.write>) => files.blocks.write(...args) },
      read: { value: (...args: Parameters<typeof files.blocks.read>) => files.blocks.read(...args) },
    })
    const base = await openRawReader(join(dir, 'base'))
    const disk = new OverlayDisk(base, { ...files, blocks })
    await disk.write([Buffer.alloc(4096, 1)], 0)
    const flushed = Promise.resolve(disk.flush())
    await flushing
    // This one may not be on the disk when the flush ends.
    await disk.write([Buffer.alloc(4096, 2)], 8192)
    const before = readFileSync(join(dir, 'o-map'))
    assert.equal(before.length, 512, 'nothing is told before the blocks are durable')
    go()
    await flushed
    await files.blocks.close()
    await files.map.close()
    await base.close()
    rmSync(join(dir, 'o-recent'))
    const { disk: again } = await reopen(dir)
    const content = await contentOf(again)
    assert.ok(content.subarray(0, 4096).equals(Buffer.alloc(4096, 1)))
    assert.ok(content.subarray(8192, 12288).equals(image.subarray(8192, 12288)), 'only what the flush was for')
    await again.close()
  })

  for (const [what, code, again] of [
    ['never flushes again once its map could not be written', 'EIO', false],
    ['flushes again when there is room again for its map', 'ENOSPC', true],
  ] as const) {
    test(what, limits, async (t) => {
      const dir = tmpDir(t)
      await (await overlayOver(dir, sampleImage())).disk.close()
      const base = await openRawReader(join(dir, 'base'))
      const files = await openOverlay(join(dir, 'o'), identityOf(base.size))
      const written: EncodedPages[] = []
      let fails = true
      const write = async (pages: EncodedPages) => {
        if (fails) throw Object.assign(new Error('not now'), { code })
        written.push(pages)
      }
      const nothing = async () => {}
      const map = new OverlayMap({
        ...{ blocks: files.map.blocks, changed: files.map.blocks.track() },
        file: { encode: MapFile.prototype.encode, write, sync: nothing, close: nothing },
        recent: { has: () => true, record: nothing, close: nothing },
      })
      const disk = new OverlayDisk(base, { ...files, map })
      await disk.flush()
      await disk.write([Buffer.alloc(4096, 1)], 0)
      const flushed = async () => disk.flush()
      const durable = async () => disk.write([Buffer.alloc(4096, 1)], 0, { fua: true })
      for (const attempt of [flushed, durable, flushed]) await assert.rejects(attempt)
      fails = false
      if (again) await durable()
      else for (const attempt of [flushed, durable]) await assert.rejects(attempt)
      assert.equal(written.length, again ? 1 : 0)
      await disk.close()
      await files.map.close()
    })
  }

  test('keeps the old data of what a slow copy from below was about to overwrite with it', limits, async (t) => {
    const dir = tmpDir(t)
    const image = sampleImage()
    const { disk } = await overlayOver(dir, image)
    const old = Buffer.from(image.subarray(0, MiB))
    await Promise.all([
      disk.write([Buffer.alloc(300, 9)], 5000),
      disk.adopt(0, MiB, old),
      disk.write([Buffer.alloc(8192, 8)], 16384),
      disk.zero(65536 + 100, 50),
    ])
    image.fill(9, 5000, 5300).fill(8, 16384, 24576).fill(0, 65636, 65686)
    assert.ok((await contentOf(disk)).equals(image))
    await disk.adopt(0, MiB, old)
    assert.ok((await contentOf(disk)).equals(image), 'what is there is not overwritten')
    await disk.close()
  })

  test('fails a write to a part of a block that cannot be read below, and no other', limits, async (t) => {
    const dir = tmpDir(t)
    const image = sampleImage()
    await (await overlayOver(dir, image)).disk.close()
    const base = await openRawReader(join(dir, 'base'))
    const broken: DriveReader = {
      ...{ size: base.size, map: base.map.bind(base), close: () => base.close() },
      read: async (buffer, offset) => {
        if (offset < 8192) throw Object.assign(new Error('unreadable'), { code: 'EIO' })
        await base.read(buffer, offset)
      },
    }
    const disk = new OverlayDisk(broken, await openOverlay(join(dir, 'o'), identityOf(image.length)))
    await assert.rejects(async () => disk.write([Buffer.alloc(10)], 5000), { code: 'EIO' })
    await assert.rejects(async () => disk.read(Buffer.alloc(10), 5000), { code: 'EIO' })
    await disk.write([Buffer.alloc(4096, 3)], 4096)
    await disk.write([Buffer.alloc(10, 4)], 5000)
    const bytes = Buffer.alloc(4096)
    await disk.read(bytes, 4096)
    assert.ok(bytes.equals(Buffer.alloc(4096, 3).fill(4, 904, 914)))
    await disk.close()
  })
})

describe('an overlay that is there already', () => {
  test('is refused where it is of something else, damaged or in use', limits, async (t) => {
    const dir = tmpDir(t)
    const image = sampleImage()
    const { disk } = await overlayOver(dir, image)
    await disk.write([Buffer.alloc(4096, 1)], 3 * MiB)
    await disk.flush()
    await assert.rejects(reopen(dir), { code: 'FAILED', message: /in use by this very process/ })
    await disk.close()
    const foreign = { code: 'USAGE', message: /belongs to another/ }
    await assert.rejects(reopen(dir, { uuid: Buffer.alloc(16, 8) }), { ...foreign, message: /another archive/ })
    await assert.rejects(reopen(dir, { drive: 2 }), { ...foreign, message: /another drive/ })
    await assert.rejects(reopen(dir, { purpose: 'restore' }), { ...foreign, message: /another kind/ })
    await assert.rejects(reopen(dir, { size: image.length + 1 }), { code: 'DAMAGED', message: /has \d+ bytes/ })

    const path = join(dir, 'o-map')
    const map = readFileSync(path)
    for (const at of [0, 9, 16, 40, 508, 513, map.length - 1]) {
      damage(path, Buffer.from(map), at)
      await assert.rejects(reopen(dir), { code: 'DAMAGED', message: /map of this overlay is damaged/ }, `byte ${at}`)
    }
    for (const length of [0, 100, 511, map.length - 1]) {
      writeFileSync(path, map.subarray(0, length))
      await assert.rejects(reopen(dir), { code: 'DAMAGED' }, `${length} bytes`)
    }
    writeFileSync(path, Buffer.concat([map, Buffer.alloc(512 * 1000)]))
    await assert.rejects(reopen(dir), { code: 'DAMAGED' })
    writeFileSync(path, map)
    await (await reopen(dir)).disk.close()
    rmSync(path)
    await assert.rejects(reopen(dir), { code: 'USAGE', message: /has no map/ })
    writeFileSync(path, map)
    copyFileSync(join(dir, 'o'), join(dir, 'kept'))
    rmSync(join(dir, 'o'))
    await assert.rejects(reopen(dir), { code: 'DAMAGED', message: /is not there, but its map is/ })
    copyFileSync(join(dir, 'kept'), join(dir, 'o'))
    truncateSync(join(dir, 'o'), 4096)
    await assert.rejects(reopen(dir), { code: 'DAMAGED', message: /has 4096 bytes/ })
  })

  test('is taken for new where it was made and nothing more', limits, async (t) => {
    const dir = tmpDir(t)
    const { disk } = await overlayOver(dir, sampleImage())
    await disk.close()
    rmSync(join(dir, 'o-map'))
    const { disk: again } = await reopen(dir)
    await again.close()
  })

  test('has lost no write after a kill, and after a restart of the system none that was flushed', limits, async (t) => {
    const dir = tmpDir(t)
    const image = sampleImage()
    const { disk } = await overlayOver(dir, image)
    await disk.write([Buffer.alloc(4096, 1)], 0)
    await disk.write([Buffer.alloc(4096, 1)], 4096, { fua: true })
    await disk.write([Buffer.alloc(65536, 2)], 65536)
    await disk.adopt(2 * 65536, 65536, image.subarray(2 * 65536, 3 * 65536))
    await disk.write([Buffer.alloc(512, 3)], 2 * 65536 + 512)
    // Not closed in good order: looked at as it lies there.
    const flushed = Buffer.from(image).fill(1, 0, 8192)
    const all = Buffer.from(flushed)
      .fill(2, 65536, 2 * 65536)
      .fill(3, 2 * 65536 + 512, 2 * 65536 + 1024)
    for (const [what, expected] of [
      ['kill', all],
      ['restart', flushed],
      ['first start', flushed],
    ] as const) {
      const copy = tmpDir(t)
      for (const file of ['base', 'o', 'o-map', 'o-recent']) copyFileSync(join(dir, file), join(copy, file))
      const recent = readFileSync(join(copy, 'o-recent'))
      // Another boot id, with the right checksum.
      recent[45] ^= 1
      recent.writeUInt32BE(crc32(recent.subarray(0, 508)), 508)
      if (what === 'restart') writeFileSync(join(copy, 'o-recent'), recent)
      if (what === 'first start') rmSync(join(copy, 'o-recent'))
      for (let time = 0; time < 2; time++) {
        const { disk: again } = await reopen(copy)
        assert.ok((await contentOf(again)).equals(expected), what)
        await again.close()
      }
    }
    await disk.close()
  })

  test('makes durable what a killed one had not, with the next flush', limits, async (t) => {
    const dir = tmpDir(t)
    const image = sampleImage()
    const { disk } = await overlayOver(dir, image)
    await disk.write([Buffer.alloc(4096, 1)], 0)
    const copy = tmpDir(t)
    for (const file of ['base', 'o', 'o-map', 'o-recent']) copyFileSync(join(dir, file), join(copy, file))
    await disk.close()
    const { disk: again } = await reopen(copy)
    await again.flush()
    await again.close()
    rmSync(join(copy, 'o-recent'))
    const { disk: last } = await reopen(copy)
    assert.ok((await contentOf(last)).equals(Buffer.from(image).fill(1, 0, 4096)))
    await last.close()
  })

  test('is refused where what it has of the last writes is damaged', limits, async (t) => {
    const dir = tmpDir(t)
    const { disk } = await overlayOver(dir, sampleImage())
    await disk.write([Buffer.alloc(4096, 1)], 0)
    await disk.close()
    damage(join(dir, 'o-recent'), readFileSync(join(dir, 'o-recent')), 600)
    await assert.rejects(reopen(dir), { code: 'DAMAGED' })
  })
})
