/** UEFI's store of variables for a boot: a copy of the guest's, or an empty one. */

import { readFile, writeFile } from 'node:fs/promises'
import type { Archive } from '../../access/archive.ts'
import { driveNamed } from '../../formats/vma/names.ts'
import type { Machine } from '../../machine/machine.ts'
import type { Note } from '../../machine/qemu/values.ts'
import { type Firmware, findFirmware } from './firmware.ts'

/** Bytes of the two stores that there are. A drive that has one may be larger. */
const SIZES = [540_672, 131_072]

/**
 * Writes the store to `file`, which exists, and finds the code for it. If the host has no code for the guest's store, the guest gets an
 * empty one; then it boots what is at the usual place of its disk. Throws FAILED if the host has no UEFI.
 */
export async function writeVariables(
  archive: Archive,
  { firmware }: Pick<Machine, 'firmware'>,
  { board, file, note }: { board: 'q35' | 'pc'; file: string; note: Note },
): Promise<Firmware> {
  const kept = firmware?.variables === undefined ? null : await storeOf(archive, firmware.variables)
  if (kept !== null) {
    const found = await findFirmware({ board, variables: kept.length }).catch(() => null)
    if (found !== null) {
      await writeFile(file, kept)
      return found
    }
    note(`this host has no UEFI for variables of ${kept.length} bytes: the guest starts without its own`)
  }
  const found = await findFirmware({ board })
  await writeFile(file, await readFile(found.template))
  return found
}

/** The store in a config file or a drive of this name; null if there is none. */
async function storeOf(archive: Archive, name: string): Promise<Buffer | null> {
  const { configs, drives } = archive.manifest
  const config = configs.findLast((config) => config.name === name)
  if (config !== undefined) return whole(Buffer.from(config.data))
  const drive = driveNamed(drives, name)
  if (drive === undefined) return null
  const bytes = Buffer.alloc(Math.min(drive.size, SIZES[0]))
  await archive.drive(drive.name).read(bytes, 0)
  return whole(bytes)
}

function whole(bytes: Buffer): Buffer | null {
  const size = SIZES.find((size) => bytes.length >= size)
  return size === undefined ? null : bytes.subarray(0, size)
}
