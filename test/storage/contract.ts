/**
 * What every drive reader and writer must do; each implementation's test runs these against its own.
 * Offsets, lengths and contents are random from a seed that a failure names.
 */

import assert from 'node:assert/strict'
import { closeSync, ftruncateSync, openSync, writeSync } from 'node:fs'
import { test } from 'node:test'
import type { DriveExtent, DriveReader, DriveWriter } from '../../src/storage/drive.ts'

const timeout = 60_000

/** Numbers 0..below from a seed (mulberry32), so that a failure can be repeated. */
export function randomFrom(seed: number): (below: number) => number {
  let state = seed >>> 0
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 2 ** 32) * below)
  }
}

/** An image with data, holes and written zeroes, of an odd size unless told otherwise. */
export function sampleImage(size = 5 * 2 ** 20 + 1536): Buffer {
  const image = Buffer.alloc(size)
  const random = randomFrom(size)
  for (const [from, to] of [
    [0, 70_000],
    [1_000_000, 1_700_001],
    [3 * 2 ** 20, 4 * 2 ** 20],
    [size - 700, size],
  ]) {
    for (let i = from; i < Math.min(to, size); i++) image[i] = random(256)
  }
  return image
}

/** Writes an image so that its zeroes are holes. */
export function writeSparse(path: string, image: Buffer): void {
  const fd = openSync(path, 'w')
  ftruncateSync(fd, image.length)
  for (let offset = 0; offset < image.length; offset += 4096) {
    const block = image.subarray(offset, offset + 4096)
    if (!block.equals(Buffer.alloc(block.length))) writeSync(fd, block, 0, block.length, offset)
  }
  closeSync(fd)
}

export async function collect(extents: AsyncIterable<DriveExtent>): Promise<DriveExtent[]> {
  const all = []
  for await (const extent of extents) all.push(extent)
  return all
}

/** Extents adjoin, cover exactly, and what they call zero is zero. */
export function checkExtents(extents: DriveExtent[], image: Buffer, offset: number, length: number): void {
  let position = offset
  for (const extent of extents) {
    assert.equal(extent.offset, position)
    assert.ok(extent.length > 0, 'an extent of no bytes')
    position += extent.length
    if (!extent.zero) continue
    const bytes = image.subarray(extent.offset, position)
    assert.ok(bytes.equals(Buffer.alloc(bytes.length)), `${extent.offset}+${extent.length} is not zero`)
  }
  assert.equal(position, offset + length)
}

export interface ReaderUnderTest {
  /** Opens a drive with exactly this content; its zeroes need not be holes. */
  open(t: Parameters<typeof import('../support/tmp.ts').tmpDir>[0], image: Buffer): Promise<DriveReader>
  /** Holes must be found, at least most of them. */
  sparse?: boolean
  /** Bytes of the drive, where the storage wants something even. */
  size?: number
  skip?: string | false
}

export function readerContract(name: string, { open, sparse = false, size, skip = false }: ReaderUnderTest): void {
  const image = sampleImage(size)

  test(`${name}: reads what is there, at any alignment, many at once`, { timeout, skip }, async (t) => {
    const reader = await open(t, image)
    assert.equal(reader.size, image.length)
    const seed = Date.now()
    const random = randomFrom(seed)
    const reads = Array.from({ length: 60 }, async () => {
      const offset = random(image.length)
      const length = Math.min(random(3) === 0 ? random(2 ** 21) : random(10_000), image.length - offset)
      const buffer = Buffer.alloc(length, 0xee)
      await reader.read(buffer, offset)
      assert.ok(buffer.equals(image.subarray(offset, offset + length)), `seed ${seed}: ${offset}+${length}`)
    })
    await Promise.all(reads)
    const whole = Buffer.alloc(image.length, 0xee)
    await reader.read(whole, 0)
    assert.ok(whole.equals(image))
    await reader.close()
  })

  test(`${name}: map covers any range exactly and calls nothing zero that is not`, { timeout, skip }, async (t) => {
    const reader = await open(t, image)
    const random = randomFrom(7)
    const all = await collect(reader.map(0, image.length))
    checkExtents(all, image, 0, image.length)
    for (let i = 0; i < 30; i++) {
      const offset = random(image.length)
      const length = random(image.length - offset + 1)
      checkExtents(await collect(reader.map(offset, length)), image, offset, length)
    }
    const zeroes = all.reduce((sum, { length, zero }) => sum + (zero ? length : 0), 0)
    if (sparse) assert.ok(zeroes > 2_000_000, `only ${zeroes} bytes of holes found`)
    await reader.close()
  })

  test(`${name}: refuses to read past the end`, { timeout, skip }, async (t) => {
    const reader = await open(t, image)
    await assert.rejects(reader.read(Buffer.alloc(10), image.length - 9), { code: 'STAGE' })
    await assert.rejects(reader.read(Buffer.alloc(1), -1), { code: 'STAGE' })
    await assert.rejects(collect(reader.map(image.length - 5, 6)), { code: 'STAGE' })
    await reader.read(Buffer.alloc(0), image.length)
    await reader.close()
  })

  test(`${name}: closes twice, and fails or finishes what is in flight`, { timeout, skip }, async (t) => {
    const reader = await open(t, image)
    const pending = Promise.allSettled([reader.read(Buffer.alloc(2 ** 20), 0), reader.read(Buffer.alloc(5000), 3)])
    await reader.close()
    await reader.close()
    await pending
    await assert.rejects(reader.read(Buffer.alloc(1), 0))
  })
}

export interface WriterUnderTest {
  /** Opens a target for a drive of `size` bytes. `content` reads it back after publish and close. */
  open(
    t: Parameters<typeof import('../support/tmp.ts').tmpDir>[0],
    size: number,
  ): Promise<{ writer: DriveWriter; content: () => Promise<Buffer> }>
  /** Bytes of the drive; odd unless the target can only take whole sectors. */
  size?: number
  skip?: string | false
}

export function writerContract(name: string, under: WriterUnderTest): void {
  const { open, size = 5 * 2 ** 20 + 1536, skip = false } = under
  test(`${name}: holds what was written, in any order, from many buffers, and zeroes elsewhere`, {
    timeout,
    skip,
  }, async (t) => {
    const image = sampleImage(size)
    const { writer, content } = await open(t, size)
    assert.equal(writer.size, size)
    if (!writer.isZero) await writer.zero(0, size)
    const step = 65536
    const offsets = Array.from({ length: Math.ceil(size / step) }, (_, i) => i * step).reverse()
    await Promise.all(
      offsets.map((offset) => {
        const piece = image.subarray(offset, Math.min(offset + step, size))
        const cuts = Array.from({ length: Math.ceil(piece.length / 4096) }, (_, i) =>
          piece.subarray(i * 4096, i * 4096 + 4096),
        )
        return writer.write([...cuts, Buffer.alloc(0)], offset)
      }),
    )
    await writer.flush()
    await writer.publish()
    await writer.close()
    await writer.close()
    assert.ok((await content()).equals(image))
  })

  test(`${name}: zero makes what was written zero again, at any alignment`, { timeout, skip }, async (t) => {
    const expected = Buffer.alloc(size, 0xab)
    const { writer, content } = await open(t, size)
    await writer.write([expected], 0)
    const random = randomFrom(11)
    for (let i = 0; i < 12; i++) {
      const offset = random(size)
      const length = random(size - offset) >> (i % 3 === 0 ? 8 : 2)
      await writer.zero(offset, length)
      expected.fill(0, offset, offset + length)
    }
    await writer.flush()
    await writer.publish()
    await writer.close()
    assert.ok((await content()).equals(expected))
  })

  test(`${name}: refuses to write past the end`, { timeout, skip }, async (t) => {
    const { writer } = await open(t, size)
    await assert.rejects(writer.write([Buffer.alloc(5), Buffer.alloc(6)], size - 10), { code: 'STAGE' })
    await assert.rejects(writer.zero(size - 10, 11), { code: 'STAGE' })
    await writer.close()
    await assert.rejects(writer.write([Buffer.alloc(1)], 0))
  })
}
