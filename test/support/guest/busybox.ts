/** busybox, the guest's whole userland: it must be linked statically, as no library comes with it. */

import { readFileSync } from 'node:fs'
import { which } from '../tools.ts'

/** What the guest's scripts call. */
export const APPLETS = [
  'sh',
  'cat',
  'fstrim',
  'insmod',
  'mkdir',
  'mount',
  'poweroff',
  'rm',
  'sleep',
  'switch_root',
  'sync',
  'tail',
  'umount',
  'wc',
]

/** The program's bytes; undefined where there is none that is static. */
export function findBusybox(): Buffer | undefined {
  const path = which('busybox')
  const program = path === undefined ? undefined : readFileSync(path)
  return program && isStatic(program) ? program : undefined
}

/** ELF, section "Program header": a PT_INTERP segment names a dynamic linker. */
function isStatic(elf: Buffer): boolean {
  const PT_INTERP = 3
  const offset = Number(elf.readBigUInt64LE(32)) // e_phoff
  const size = elf.readUInt16LE(54) //              e_phentsize
  const count = elf.readUInt16LE(56) //             e_phnum
  for (let i = 0; i < count; i++) {
    if (elf.readUInt32LE(offset + i * size) === PT_INTERP) return false
  }
  return true
}
