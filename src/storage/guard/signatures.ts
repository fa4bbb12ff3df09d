/**
 * Finds out what a block device has, in the places where libblkid looks: partition tables, filesystems, and parts of volumes and
 * arrays. A device with only zeroes there is empty. Any other byte counts as content; the names are for the message only.
 */

import type { FileHandle } from 'node:fs/promises'

const KiB = 1024
const MiB = 1024 * KiB

/**
 * The bytes that are checked. Most signatures are in the head. VMFS is at 2 MiB, and a copy of btrfs's superblock at 64 MiB. In the tail
 * are the second GPT, arrays (md 0.90 and 1.0, and those of controllers, up to 1.5 MiB before the end), labels of ZFS and DRBD's metadata.
 */
function places(size: number): [from: number, to: number][] {
  const all: [number, number][] = [
    [0, MiB + 4 * KiB],
    [2 * MiB, 2 * MiB + 4 * KiB],
    [4 * MiB, 4 * MiB + 4 * KiB],
    [64 * MiB, 64 * MiB + 4 * KiB],
    [size - 2 * MiB, size],
  ]
  return all.map(([from, to]) => [Math.max(0, from), Math.min(size, to)])
}

interface Signature {
  what: string
  /** The magic as hexadecimal digits or text. */
  magic: string | Uint8Array
  /** Bytes from the start, or from the end if negative. */
  at: readonly number[]
}

const hex = (text: string) => Buffer.from(text, 'hex')
/** The start of the first uberblock of a ZFS label, in both byte orders. */
const UBERBLOCKS = Array.from({ length: 32 }, (_, index) => 128 * KiB + index * 4 * KiB)

/** Swap has its signature at the end of its first page, whose size depends on the machine. */
const SWAP_ENDS = [4, 8, 16, 32, 64].map((size) => size * KiB - 10)

/** The signatures, the most telling first. Offsets and magics are those of the formats' own headers. */
const SIGNATURES: readonly Signature[] = [
  { what: 'a LUKS header', magic: hex('4c554b53babe'), at: [0] },
  { what: 'a BitLocker header', magic: '-FVE-FS-', at: [3] },
  { what: 'an LVM physical volume', magic: 'LABELONE', at: [0, 512, 1024, 1536] },
  { what: 'a member of an md array', magic: hex('fc4e2ba9'), at: [0, 4 * KiB] },
  { what: 'a ZFS label', magic: hex('0cb1ba0000000000'), at: UBERBLOCKS },
  { what: 'a ZFS label', magic: hex('0000000000bab10c'), at: UBERBLOCKS },
  { what: 'a bcache device', magic: hex('c68573f64e1a45ca8265f57f48ba6d81'), at: [4 * KiB + 24] },
  { what: 'a bcachefs filesystem', magic: hex('c68573f666ce90a9d96a60cf803df7ef'), at: [4 * KiB + 24] },
  { what: 'swap space', magic: 'SWAPSPACE2', at: SWAP_ENDS },
  { what: 'swap space', magic: 'SWAP-SPACE', at: SWAP_ENDS },
  { what: 'an ext2, ext3 or ext4 filesystem', magic: hex('53ef'), at: [KiB + 56] },
  { what: 'an XFS filesystem', magic: 'XFSB', at: [0] },
  { what: 'a btrfs filesystem', magic: '_BHRfS_M', at: [64 * KiB + 64, 64 * MiB + 64] },
  { what: 'an NTFS filesystem', magic: 'NTFS    ', at: [3] },
  { what: 'an exFAT filesystem', magic: 'EXFAT   ', at: [3] },
  { what: 'a FAT filesystem', magic: 'FAT', at: [54, 82] },
  { what: 'an F2FS filesystem', magic: hex('1020f5f2'), at: [KiB] },
  { what: 'a JFS filesystem', magic: 'JFS1', at: [32 * KiB] },
  { what: 'a ReiserFS filesystem', magic: 'ReIsEr', at: [8 * KiB + 52, 64 * KiB + 52] },
  { what: 'a GFS2 filesystem', magic: hex('01161970'), at: [64 * KiB] },
  { what: 'an OCFS2 filesystem', magic: 'OCFSV2', at: [KiB, 2 * KiB, 4 * KiB, 8 * KiB] },
  { what: 'a squashfs filesystem', magic: 'hsqs', at: [0] },
  { what: 'an EROFS filesystem', magic: hex('e2e1f5e0'), at: [KiB] },
  { what: 'an ISO 9660 filesystem', magic: 'CD001', at: [32 * KiB + 1] },
  { what: 'a Ceph OSD', magic: 'bluestore block device', at: [0] },
  { what: 'a VMFS volume', magic: hex('0dd001c0'), at: [MiB] },
  { what: 'a GPT partition table', magic: 'EFI PART', at: [512, 4 * KiB] },
  { what: 'the second copy of a GPT partition table', magic: 'EFI PART', at: [-512, -4 * KiB] },
  ...['8374026b', '8374026c', '8374026d'].map((magic) => ({
    what: 'DRBD metadata',
    magic: hex(magic),
    at: [-4 * KiB + 60],
  })),
  { what: 'a member of a DDF array', magic: hex('de11de11'), at: [-512] },
  { what: 'a member of an Intel RAID', magic: 'Intel Raid ISM Cfg Sig.', at: [-1024] },
  { what: 'a QEMU image (qcow2)', magic: hex('514649fb'), at: [0] },
  { what: 'a VMA archive', magic: hex('564d4100'), at: [0] },
  { what: 'an MBR partition table or a boot sector', magic: hex('55aa'), at: [510] },
]

/** The superblocks of md at the end: version 1.0 is 8 to 12 KiB before the end, 0.90 64 to 128 KiB, both aligned. */
function mdAtEnd(size: number): number[] {
  const sectors = Math.floor(size / 512)
  return [Math.floor((sectors - 16) / 8) * 8 * 512, Math.floor(size / (64 * KiB)) * 64 * KiB - 64 * KiB]
}

/** Names the content in one phrase, such as "an XFS filesystem". Null if the device is empty. */
export async function findContent(file: Pick<FileHandle, 'read'>, size: number): Promise<string | null> {
  let used: number | null = null
  for (const [from, to] of places(size)) {
    if (from >= to) continue
    const piece = await readAll(file, from, to)
    for (const { what, at, magic } of [
      ...SIGNATURES,
      { what: 'a member of an md array', magic: hex('fc4e2ba9'), at: mdAtEnd(size) },
    ]) {
      const bytes = typeof magic === 'string' ? Buffer.from(magic, 'latin1') : magic
      for (const offset of at) {
        const start = (offset < 0 ? size + offset : offset) - from
        if (start >= 0 && piece.subarray(start, start + bytes.length).equals(bytes)) return what
      }
    }
    const index = firstNonZero(piece)
    if (used === null && index >= 0) used = from + index
  }
  return used === null ? null : `data (the first is at byte ${used})`
}

async function readAll(file: Pick<FileHandle, 'read'>, from: number, to: number): Promise<Buffer> {
  const buffer = Buffer.alloc(to - from)
  let done = 0
  while (done < buffer.length) {
    const { bytesRead } = await file.read(buffer, done, buffer.length - done, from + done)
    if (bytesRead === 0) break
    done += bytesRead
  }
  return buffer.subarray(0, done)
}

const ZEROES = Buffer.alloc(4 * KiB)

function firstNonZero(buffer: Buffer): number {
  for (let at = 0; at < buffer.length; at += ZEROES.length) {
    const block = buffer.subarray(at, at + ZEROES.length)
    if (!block.equals(ZEROES.subarray(0, block.length))) return at + block.findIndex((byte) => byte !== 0)
  }
  return -1
}
