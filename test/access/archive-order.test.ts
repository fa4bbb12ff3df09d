import assert from 'node:assert/strict'
import { test } from 'node:test'
import { inArchiveOrder } from '../../src/access/archive-order.ts'
import type { ImageReader, Placed } from '../../src/access/image-reader.ts'

const C = 65536

/** A drive whose clusters are in these extents; of a negative one, that it has no place; `z` ones are zero. */
function drive(extents: (number | `${number}z`)[], placed = true): ImageReader {
  const size = extents.length * C
  const all: Placed[] = extents.map((extent, index) => ({
    ...{ offset: index * C, length: C, extent: Number.parseInt(String(extent), 10) },
    stored: !String(extent).endsWith('z'),
  }))
  const places = function* (offset: number, length: number) {
    yield* all.filter((place) => place.offset >= offset && place.offset < offset + length)
  }
  return { size, ...(placed && { places }) } as unknown as ImageReader
}

function clusters(drives: ImageReader[]): [number, number, number][] {
  return Array.from(inArchiveOrder(drives), ({ drive, offset, length }) => [drive, offset / C, length / C])
}

test('drives that an archive mixes are read from its front to its end', () => {
  assert.deepEqual(clusters([drive([3, 0, 2]), drive([1, 2])]), [
    [0, 1, 1],
    [1, 0, 1],
    [0, 2, 1],
    [1, 1, 1],
    [0, 0, 1],
  ])
})

test('zeroes that follow each other are one stretch', () => {
  assert.deepEqual(clusters([drive([0, '0z', '1z', '2z', 2])]), [
    [0, 0, 1],
    [0, 1, 3],
    [0, 4, 1],
  ])
})

test('what no extent has comes last, and a drive that cannot tell behind it, whole', () => {
  assert.deepEqual(clusters([drive([0, 0, 0], false), drive([-1, 5]), drive([])]), [
    [1, 1, 1],
    [1, 0, 1],
    [0, 0, 3],
  ])
})

test('nothing is nothing', () => {
  assert.deepEqual(clusters([]), [])
})
