/**
 * Decodes the partition table of a PC's master boot record, the first sector of a disk, and of extended boot records, which have
 * the same layout: UEFI Specification, 5.2.1 "Legacy Master Boot Record". Integers are little endian.
 */

/** Bytes of the boot record. Sectors are at least as large. */
export const MBR_BYTES = 512

const TABLE = 446
const ENTRY_BYTES = 16

export const PROTECTIVE = 0xee

export interface MbrEntry {
  /** 0 if the entry is not used. */
  type: number
  bootable: boolean
  /** Sectors, counted from the place that this type of entry counts from. */
  first: number
  count: number
}

/** Decodes the four entries; null if there is no table: no signature, a filesystem's boot sector, or an impossible entry. */
export function decodeMbr(sector: Buffer): MbrEntry[] | null {
  if (sector.readUInt16LE(510) !== 0xaa55 || isBootSector(sector)) return null
  const entries: MbrEntry[] = []
  for (let at = TABLE; at < TABLE + 4 * ENTRY_BYTES; at += ENTRY_BYTES) {
    const status = sector[at]
    if (status !== 0 && status !== 0x80) return null
    const [first, count] = [sector.readUInt32LE(at + 8), sector.readUInt32LE(at + 12)]
    entries.push({ type: count === 0 ? 0 : sector[at + 4], bootable: status === 0x80, first, count })
  }
  return entries
}

export function isExtended(type: number): boolean {
  return type === 0x05 || type === 0x0f || type === 0x85
}

/** Whether a FAT or NTFS filesystem begins here. Its first sector has the same signature, but code in the place of the table. */
function isBootSector(sector: Buffer): boolean {
  if (sector[0] !== 0xeb && sector[0] !== 0xe9) return false
  const text = (at: number, length: number) => sector.toString('latin1', at, at + length)
  return text(3, 4) === 'NTFS' || text(3, 5) === 'EXFAT' || text(54, 3) === 'FAT' || text(82, 5) === 'FAT32'
}

const TYPES: Record<number, string> = {
  1: 'FAT12',
  4: 'FAT16',
  5: 'extended',
  6: 'FAT16',
  7: 'NTFS or exFAT',
  11: 'FAT32',
  12: 'FAT32',
  14: 'FAT16',
  15: 'extended',
  39: 'Windows recovery',
  66: 'Windows dynamic disk',
  130: 'Linux swap',
  131: 'Linux',
  133: 'extended',
  142: 'Linux LVM',
  165: 'FreeBSD',
  166: 'OpenBSD',
  169: 'NetBSD',
  175: 'HFS+',
  238: 'GPT',
  239: 'EFI system',
  253: 'Linux RAID',
}

/** The usual name of the partition type, or its number in hexadecimal digits if there is none. */
export function mbrTypeName(type: number): string {
  return TYPES[type] ?? `type ${type.toString(16).padStart(2, '0')}`
}
