/**
 * Temporary names of files that are being written: `.NAME.RANDOM-PLACE-CHECK.partial`, beside NAME.
 *
 * RANDOM tells runs apart, on whatever host and in whatever container they are. PLACE tells which processes see the lock of a live
 * run on the file (partial-lock.ts). CHECK is a checksum of all before it, so that a file of another program with a similar name is
 * never taken for one of ours. Names are bytes, as a name on another machine need not be UTF-8.
 */

import { randomBytes } from 'node:crypto'

/** The longest name that common filesystems take, in bytes. */
export const NAME_MAX = 255

/** PLACE if every process that sees the file sees its lock, and PLACE if there is no lock. */
export const SHARED = '00000000'
export const UNLOCKED = 'ffffffff'

const TOKEN = /^\.(.+)\.([0-9a-f]{16}-([0-9a-f]{8}))-([0-9a-f]{8})\.partial$/s

/** Bytes besides NAME: two dots, three hexadecimal numbers with dashes between them, `.partial`. */
const AROUND = 2 + 16 + 1 + 8 + 1 + 8 + '.partial'.length

interface PartialName {
  /** NAME, or its beginning if it was too long. */
  name: Buffer
  place: string
}

/** Makes a temporary name for a file of this name, which is cut if the whole would be too long. */
export function partialName(name: Uint8Array, place: string): Buffer {
  const start = `.${cutName(name).toString('latin1')}.${randomBytes(8).toString('hex')}-${place}`
  return Buffer.from(`${start}-${checkOf(start)}.partial`, 'latin1')
}

/** Parses a temporary name. Null for every other name. */
export function parsePartialName(file: Uint8Array): PartialName | null {
  const match = TOKEN.exec(Buffer.from(file).toString('latin1'))
  if (match === null) return null
  const [, name, token, place, check] = match
  return checkOf(`.${name}.${token}`) === check ? { name: Buffer.from(name, 'latin1'), place } : null
}

/** Whether this is a temporary name for a file of this name. */
export function isAttemptAt(partial: PartialName, name: Uint8Array): boolean {
  return partial.name.equals(cutName(name))
}

/** The part of a name that fits into a temporary one. Never cut within a character, as some filesystems refuse wrong UTF-8. */
export function cutName(name: Uint8Array): Buffer {
  let end = Math.min(name.byteLength, NAME_MAX - AROUND)
  while (end < name.byteLength && end > 1 && (name[end] & 0xc0) === 0x80) end--
  return Buffer.from(name.subarray(0, end))
}

/** The checksum of cksum(1), which the shell at the other end of an ssh has too: a CRC-32 that includes the length. */
function checkOf(text: string): string {
  let crc = 0
  const add = (byte: number) => {
    crc ^= byte << 24
    for (let bit = 0; bit < 8; bit++) crc = crc < 0 ? (crc << 1) ^ 0x04c11db7 : crc << 1
  }
  for (const byte of Buffer.from(text, 'latin1')) add(byte)
  for (let length = text.length; length > 0; length >>>= 8) add(length & 0xff)
  return (~crc >>> 0).toString(16).padStart(8, '0')
}
