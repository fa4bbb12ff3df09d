/**
 * The list of an archive's volumes, a text file beside them. The volumes themselves hold nothing but the bytes of the archive, so that
 * `cat` joins them. The list is what tells a volume that is missing, short, in another's place or of another archive.
 *
 *   vmapipe volumes 1
 *   4294967296 1f0a93cc       size in bytes and mark of the first volume
 *   …
 *   end 2 93a1bb02            number of volumes, CRC-32 of the lines before
 *
 * The mark is a CRC-32 over five samples of the volume. It finds a wrong file at once, without reading all of it. Damage within a volume is
 * found by the checksums of the archive.
 */

import type { FileHandle } from 'node:fs/promises'
import { crc32 } from 'node:zlib'
import { VmapipeError } from '../../../core/errors.ts'
import { MOST_VOLUMES } from './names.ts'

export interface Volume {
  /** Bytes. */
  size: number
  mark: number
}

/** Bytes of one sample, and how many there are, the first at the beginning and the last at the end. */
const SAMPLE = 16 << 10
const SAMPLES = 5

/** Bytes of the largest list: 1000 lines of two numbers. */
export const MOST_LIST_BYTES = 64 << 10

const FIRST_LINE = 'vmapipe volumes 1'

export function formatList(volumes: readonly Volume[]): string {
  const lines = volumes.map(({ size, mark }) => `${size} ${hex(mark)}\n`).join('')
  const text = `${FIRST_LINE}\n${lines}`
  return `${text}end ${volumes.length} ${hex(crc32(text))}\n`
}

/** Throws DAMAGED if the text is not a whole list. */
export function parseList(text: string, file: string): Volume[] {
  const end = /^end (\d+) ([0-9a-f]{8})\n$/m.exec(text)
  const body = text.slice(0, end?.index ?? 0)
  const [first, ...lines] = body.split('\n').slice(0, -1)
  const volumes = lines.flatMap((line) => {
    const [, size, mark] = /^([1-9]\d{0,15}|0) ([0-9a-f]{8})$/.exec(line) ?? []
    return mark === undefined ? [] : [{ size: Number(size), mark: Number.parseInt(mark, 16) }]
  })
  const total = volumes.reduce((sum, { size }) => sum + size, 0)
  const isWhole =
    end !== null &&
    first === FIRST_LINE &&
    end[2] === hex(crc32(body)) &&
    Number(end[1]) === lines.length &&
    volumes.length === lines.length &&
    lines.length > 0 &&
    lines.length <= MOST_VOLUMES &&
    Number.isSafeInteger(total)
  if (!isWhole) throw new VmapipeError('DAMAGED', `'${file}' is not a whole list of volumes`, { file })
  return volumes
}

function hex(number: number): string {
  return number.toString(16).padStart(8, '0')
}

/** What a mark is made of. */
export interface Sampled {
  /** Fills the buffer with the bytes from this place. */
  read(buffer: Uint8Array, offset: number): Promise<void>
}

/** The mark of a volume of this size. The samples are read at once: over a network each takes a round trip. */
export async function markOfBytes(volume: Sampled, size: number): Promise<number> {
  const samples = await Promise.all(
    Array.from({ length: size === 0 ? 0 : SAMPLES }, async (_, index) => {
      const sample = Buffer.alloc(Math.min(SAMPLE, size))
      await volume.read(sample, Math.floor(((size - sample.length) * index) / (SAMPLES - 1)))
      return sample
    }),
  )
  return samples.reduce((mark, sample) => crc32(sample, mark), 0)
}

/** The same of a file that is open. */
export function markOf(file: FileHandle, size: number): Promise<number> {
  const read = async (buffer: Uint8Array, offset: number) => {
    const { bytesRead } = await file.read(buffer, 0, buffer.byteLength, offset)
    // One that becomes shorter meanwhile is not the volume that is meant.
    buffer.fill(0, bytesRead)
  }
  return markOfBytes({ read }, size)
}
