/**
 * Encodes and decodes the archive's record, which is in reserved bytes of the header (README.md beside this file, section 3).
 *
 *   60 `VX`  62 version  63 zero  64 parent's uuid  80 checksum of the parent's end  96 parent's ctime  104 length of the text  106 text
 */

import { VmapipeError } from '../../core/errors.ts'
import type { ArchiveRecord, ParentRecord } from '../../core/items.ts'

const AT = 60
const MAGIC = 0x5658 // "VX"
const VERSION = 1
const PARENT_UUID = 64
const PARENT_END = 80
const PARENT_CTIME = 96
const TEXT_LENGTH = 104
const TEXT = 106
/** The most bytes of the text. The reserved bytes end at 2044. */
const MOST_TEXT = 1900
/** The most characters of one entry of the text, if all of them do not fit. */
const SHORT = 200

/** Writes the record into the fixed part of a header. */
export function encodeArchiveRecord(header: Buffer, record: ArchiveRecord, tool: string): void {
  const { parent } = record
  header.writeUInt16BE(MAGIC, AT)
  header[AT + 2] = VERSION
  if (parent !== null) {
    header.set(parent.uuid.subarray(0, 16), PARENT_UUID)
    header.set(parent.end.subarray(0, 16), PARENT_END)
    header.writeBigInt64BE(BigInt(parent.ctime), PARENT_CTIME)
  }
  const text = textOf(record, tool)
  header.writeUInt16BE(text.length, TEXT_LENGTH)
  header.set(text, TEXT)
}

/** The text, shortened until it fits: reasons are for people, and the name of the guest finds the archive. */
function textOf({ guest, full, whole }: ArchiveRecord, tool: string): Buffer {
  const short = full === null ? null : full.slice(0, SHORT)
  for (const said of [
    { guest, full, whole, tool },
    { guest, full: short, tool },
  ]) {
    const given = Object.entries(said).filter(([, value]) => value !== null && value !== undefined)
    const text = Buffer.from(JSON.stringify(Object.fromEntries(given)))
    if (text.length <= MOST_TEXT) return text
  }
  throw new VmapipeError('USAGE', `the name of the guest is too long for an archive: '${guest?.slice(0, 40)}…'`)
}

/** Reads the record of a header; null if it has none. Throws DAMAGED for an incremental archive that does not name its parent. */
export function decodeArchiveRecord(header: Buffer, isIncremental: boolean): ArchiveRecord | null {
  const known = header.readUInt16BE(AT) === MAGIC && header[AT + 2] === VERSION
  if (!known) {
    if (!isIncremental) return null
    throw new VmapipeError('DAMAGED', 'the archive is incremental, but its record cannot be read', {
      offset: AT,
      hint: 'a newer version of this program may have written it',
    })
  }
  const parent = isIncremental ? parentOf(header) : null
  return { parent, ...saidIn(header.subarray(TEXT, TEXT + Math.min(header.readUInt16BE(TEXT_LENGTH), MOST_TEXT))) }
}

function parentOf(header: Buffer): ParentRecord {
  return {
    uuid: Uint8Array.from(header.subarray(PARENT_UUID, PARENT_UUID + 16)),
    end: Uint8Array.from(header.subarray(PARENT_END, PARENT_END + 16)),
    ctime: Number(header.readBigInt64BE(PARENT_CTIME)),
  }
}

/** What the text says. A text that cannot be read says nothing: no data depends on it. */
function saidIn(text: Buffer): Pick<ArchiveRecord, 'guest' | 'full' | 'whole' | 'tool'> {
  let said: Record<string, unknown> = {}
  try {
    said = Object(JSON.parse(text.toString()))
  } catch {
    return { guest: null, full: null }
  }
  const textAt = (key: string) => (typeof said[key] === 'string' ? said[key] : null)
  const whole = Object.entries(typeof said.whole === 'object' ? (said.whole ?? {}) : {}).filter(
    (entry): entry is [string, string] => {
      return typeof entry[1] === 'string'
    },
  )
  return {
    guest: textAt('guest'),
    full: textAt('full'),
    ...(whole.length > 0 && { whole: Object.fromEntries(whole) }),
    ...(textAt('tool') !== null && { tool: textAt('tool')! }),
  }
}
