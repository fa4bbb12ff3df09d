/**
 * Temporary names of what is being written: `.NAME.RANDOM-PLACE-CHECK.partial`, beside NAME.
 *
 * RANDOM keeps two runs apart, whatever host, container or process they are. PLACE says who can see the lock that a living
 * run holds on the file (partial-lock.ts). CHECK is a checksum of all that comes before it, so that somebody else's file
 * that only looks like one of ours is never taken for one. Names are bytes: a name on another machine need not be UTF-8.
 */

import { randomBytes } from 'node:crypto'

/** Longest name that common filesystems take, in bytes. */
export const NAME_MAX = 255

/** PLACE if whoever sees the file sees its lock, and if there is no lock at all. */
export const SHARED = '00000000'
export const UNLOCKED = 'ffffffff'

const TOKEN = /^\.(.+)\.([0-9a-f]{16}-([0-9a-f]{8}))-([0-9a-f]{8})\.partial$/s

/** Its length: two dots, three hexadecimal numbers with dashes between them, `.partial`. */
const AROUND = 2 + 16 + 1 + 8 + 1 + 8 + '.partial'.length

interface PartialName {
  /** NAME, or the beginning of one that was too long. */
  name: Buffer
  place: string
}

/** A new one for a file of this name. NAME is cut if the whole would be too long. */
export function partialName(name: Uint8Array, place: string): Buffer {
  const start = `.${cutName(name).toString('latin1')}.${randomBytes(8).toString('hex')}-${place}`
  return Buffer.from(`${start}-${checkOf(start)}.partial`, 'latin1')
}

/** Null for every other name. */
export function parsePartialName(file: Uint8Array): PartialName | null {
  const match = TOKEN.exec(Buffer.from(file).toString('latin1'))
  if (match === null) return null
  const [, name, token, place, check] = match
  return checkOf(`.${name}.${token}`) === check ? { name: Buffer.from(name, 'latin1'), place } : null
}

/** Whether it is, or was, to become a file of this name. */
export function isAttemptAt(partial: PartialName, name: Uint8Array): boolean {
  return partial.name.equals(cutName(name))
}

/** What a temporary name holds of it. Never cut within a character of UTF-8, as some filesystems refuse what is none. */
export function cutName(name: Uint8Array): Buffer {
  let end = Math.min(name.byteLength, NAME_MAX - AROUND)
  while (end < name.byteLength && end > 1 && (name[end] & 0xc0) === 0x80) end--
  return Buffer.from(name.subarray(0, end))
}

/** What cksum(1) of POSIX gives, which every shell at the other end of an ssh has: a CRC-32 that counts the length too. */
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
