/** Pictures of a guest's screen: QEMU writes them as PPM (netpbm, P6), of which they are compared, and made PNG (W3C PNG, third edition). */

import { crc32, deflateSync } from 'node:zlib'

export interface Screen {
  width: number
  height: number
  /** Red, green and blue of each pixel, row by row. */
  pixels: Buffer
}

/** Pixels along a side. QEMU's largest mode is smaller; the file comes from a process that runs a hostile guest. */
const LARGEST = 8192

/** Null if the file is no whole picture. */
export function parsePpm(file: Buffer): Screen | null {
  const head = /^P6\s+(\d{1,5})\s+(\d{1,5})\s+255\s/.exec(file.toString('latin1', 0, 40))
  if (head === null) return null
  const [width, height] = [Number(head[1]), Number(head[2])]
  const bytes = width * height * 3
  const pixels = file.subarray(head[0].length, head[0].length + bytes)
  const isPossible = width > 0 && height > 0 && width <= LARGEST && height <= LARGEST
  return isPossible && pixels.length === bytes ? { width, height, pixels } : null
}

/** The part of the pixels that have another colour than the most frequent one: 0 for an empty screen. */
export function content(screen: Screen): number {
  const empty = mainColour(screen)
  let other = 0
  for (let at = 0; at < screen.pixels.length; at += 3) if (screen.pixels.readUIntBE(at, 3) !== empty) other++
  return other / (screen.width * screen.height)
}

const mainColours = new WeakMap<Screen, number>()

/** The most frequent colour, as a number of three bytes. */
export function mainColour(screen: Screen): number {
  const known = mainColours.get(screen)
  if (known !== undefined) return known
  const counts = new Map<number, number>()
  for (let at = 0; at < screen.pixels.length; at += 3) {
    const colour = screen.pixels.readUIntBE(at, 3)
    counts.set(colour, (counts.get(colour) ?? 0) + 1)
  }
  const [[found]] = [...counts].sort(([, a], [, b]) => b - a)
  mainColours.set(screen, found)
  return found
}

const SIGNATURE = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a])

/** The picture as a file. */
export function encodePng({ width, height, pixels }: Screen): Buffer {
  const header = Buffer.alloc(13)
  header.writeUInt32BE(width, 0)
  header.writeUInt32BE(height, 4)
  // 8 bits a sample, RGB; compression, filters and interlacing as always.
  header.set([8, 2, 0, 0, 0], 8)
  const row = width * 3
  // Each row begins with its filter: none.
  const rows = Buffer.alloc((row + 1) * height)
  for (let y = 0; y < height; y++) pixels.copy(rows, y * (row + 1) + 1, y * row, (y + 1) * row)
  return Buffer.concat([SIGNATURE, chunk('IHDR', header), chunk('IDAT', deflateSync(rows)), chunk('IEND')])
}

function chunk(type: string, data = Buffer.alloc(0)): Buffer {
  const out = Buffer.alloc(data.length + 12)
  out.writeUInt32BE(data.length, 0)
  out.write(type, 4, 'latin1')
  data.copy(out, 8)
  out.writeUInt32BE(crc32(out.subarray(4, data.length + 8)), data.length + 8)
  return out
}
