/**
 * The guest's disk: an ext4 filesystem, made on the host, that is the root filesystem of a small system and holds
 *
 *     log        one line a record, its number in 8 digits; the writer appends
 *     slots/K    256 files of 64 KiB; the first 4 KiB of one hold the last record that fell on it, the rest never changes
 *     ballast    a file whose blocks the writer gives back with fstrim
 */

import { execFileSync } from 'node:child_process'
import { chmodSync, cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { which } from '../tools.ts'
import { APPLETS, findBusybox } from './busybox.ts'

export const SLOTS = 256
export const SLOT_BYTES = 65536
export const BLOCK = 4096
const BALLAST_BYTES = 16 * 2 ** 20
const DISK_BYTES = 64 * 2 ** 20

/** Makes `image`; `marker` (a word) is what the system on it says when it boots. */
export function makeGuestDisk(image: string, marker: string): void {
  const root = mkdtempSync(join(dirname(image), 'root-'))
  try {
    writeSystem(root, marker)
    writeFileSync(join(root, 'log'), '')
    mkdirSync(join(root, 'slots'))
    for (let slot = 0; slot < SLOTS; slot++) {
      writeFileSync(join(root, 'slots', String(slot)), Buffer.concat([recordBlock(0), slotRest(slot)]))
    }
    writeFileSync(join(root, 'ballast'), ballast())
    writeFileSync(image, '')
    truncateSync(image, DISK_BYTES)
    // Nothing is left for the guest's kernel to initialise later: it would write while a test counts writes.
    const options = ['-q', '-F', '-b', String(BLOCK), '-E', 'lazy_itable_init=0,lazy_journal_init=0', '-d', root]
    execFileSync(which('mkfs.ext4')!, [...options, image], { stdio: ['ignore', 'ignore', 'pipe'] })
  } finally {
    rmSync(root, { recursive: true })
  }
}

function writeSystem(root: string, marker: string): void {
  for (const folder of ['bin', 'dev', 'etc', 'proc', 'sbin']) mkdirSync(join(root, folder))
  const busybox = findBusybox()
  if (busybox === undefined) throw new Error('a test guest needs a busybox that is linked statically')
  writeFileSync(join(root, 'bin/busybox'), busybox, { mode: 0o755 })
  for (const applet of APPLETS) symlinkSync('busybox', join(root, 'bin', applet))
  cpSync(join(import.meta.dirname, 'disk-init.sh'), join(root, 'sbin/init'))
  chmodSync(join(root, 'sbin/init'), 0o755)
  writeFileSync(join(root, 'etc/marker'), `${marker}\n`)
}

/** What the writer puts on a slot for record `n`; 0 is a slot's content before the first. */
export function recordBlock(n: number): Buffer {
  return Buffer.from(`${recordName(n)} ${'.'.repeat(BLOCK - 10)}\n`)
}

export function recordName(n: number): string {
  return String(n).padStart(8, '0')
}

/** A slot after its first block. */
export function slotRest(slot: number): Buffer {
  return Buffer.alloc(SLOT_BYTES - BLOCK, `slot ${slot}\n`)
}

/** Every block of it differs. */
export function ballast(): Buffer {
  const bytes = Buffer.alloc(BALLAST_BYTES, 'ballast ')
  for (let offset = 0; offset < bytes.length; offset += BLOCK) bytes.writeUInt32LE(offset, offset)
  return bytes
}
