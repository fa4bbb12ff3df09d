import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { test } from 'node:test'
import { content, encodePng, parsePpm, type Screen } from '../../../src/operations/boot/screen.ts'
import { Stillness } from '../../../src/operations/boot/stillness.ts'

/** A screen in one colour, with other pixels at these numbers. */
function screen(width: number, height: number, set: readonly number[] = []): Screen {
  const pixels = Buffer.alloc(width * height * 3)
  for (const pixel of set) pixels.fill(0xaa, pixel * 3, pixel * 3 + 3)
  return { width, height, pixels }
}

const ppm = ({ width, height, pixels }: Screen) => Buffer.concat([Buffer.from(`P6\n${width} ${height}\n255\n`), pixels])

test('a picture of QEMU is read, and one that is cut or too large is none', () => {
  const picture = screen(3, 2, [1, 5])
  assert.deepEqual(parsePpm(ppm(picture)), picture)
  for (const wrong of [
    ppm(picture).subarray(0, -1),
    Buffer.from('P6\n99999 99999\n255\n'),
    Buffer.from('P5\n1 1\n255\nxxx'),
    Buffer.alloc(0),
  ])
    assert.equal(parsePpm(wrong), null)
})

test('a PNG is what an independent program reads it as', () => {
  const picture = screen(20, 10, [0, 25, 199])
  const script =
    'import sys,zlib,struct;d=sys.stdin.buffer.read();i=8;o=b""\nwhile i<len(d):\n n,k=struct.unpack(">I4s",d[i:i+8]);c=d[i+8:i+8+n];assert zlib.crc32(k+c)==struct.unpack(">I",d[i+8+n:i+12+n])[0]\n if k==b"IHDR":w,h=struct.unpack(">II",c[:8])\n if k==b"IDAT":o+=c\n i+=12+n\nr=zlib.decompress(o);sys.stdout.buffer.write(b"".join(r[y*(w*3+1)+1:(y+1)*(w*3+1)] for y in range(h)))'
  const read = execFileSync('/usr/bin/python3', ['-c', script], { input: encodePng(picture) })
  assert.deepEqual(read, picture.pixels)
})

test('a screen is still if nothing but its cursor blinks, and a letter is something new', () => {
  const cursor = [100, 101, 102, 103]
  const text = [1, 2, 3]
  const still = new Stillness(screen(320, 200, text))
  assert.equal(still.add(screen(320, 200, text)), 0)
  assert.equal(still.add(screen(320, 200, [...text, ...cursor])), cursor.length / 64_000)
  assert.equal(still.newPixels(screen(320, 200, [...text, ...cursor])), 0)
  assert.equal(still.newPixels(screen(320, 200, [...text, 200, 201, 202, ...cursor])), 3)
  assert.equal(still.add(screen(640, 200)), 1)
})

test('a cursor that moves, and a screen that scrolls, are nothing new; a prompt is', () => {
  const [width, height, line] = [320, 200, 16]
  const row = (number: number) => Array.from({ length: 200 }, (_, x) => (number * line + 5) * width + x)
  const text = [0, 3, 11].flatMap(row)
  const still = new Stillness(screen(width, height, text))
  const scrolled = text.map((pixel) => pixel - line * width).filter((pixel) => pixel >= 0)
  const cursor = Array.from({ length: 16 }, (_, x) => 190 * width + x)
  assert.equal(still.newPixels(screen(width, height, [...scrolled, ...cursor])), cursor.length)
  assert.equal(still.newPixels(screen(width, height, [...text, ...cursor])), cursor.length)
  assert.ok(still.newPixels(screen(width, height, [...scrolled, ...row(11)])) >= 200)
})

test('an empty screen has no content', () => {
  assert.equal(content(screen(320, 200)), 0)
  assert.ok(Math.abs(content(screen(10, 10, [1, 2])) - 0.02) < 1e-9)
})
