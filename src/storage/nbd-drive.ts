/** An NBD export as a drive to read or to write. */

import { NbdClient, type NbdOptions } from '../protocol/nbd/client.ts'
import { formatNbdAddress, type NbdAddress } from '../protocol/nbd/uri.ts'
import { checkTargetSize, DiskWriter } from './disk-writer.ts'
import { NbdDisk, openNbdDisk } from './disks/nbd-disk.ts'
import type { DriveWriter } from './drive.ts'
import { refuseExportInUse } from './guard/export-in-use.ts'
import type { SharedReading } from './raw-drive.ts'

export async function openNbdReader(
  address: NbdAddress,
  { forceShare = false, ...options }: NbdOptions & SharedReading = {},
): Promise<NbdDisk> {
  if (!forceShare) await refuseExportInUse(address)
  return new NbdDisk(await NbdClient.connect(address, options), { readOnly: true })
}

/** Opens an export that takes writes and has at least `size` bytes. What is past `size` is left alone. */
export async function openNbdWriter(
  address: NbdAddress,
  size: number,
  isZero: boolean,
  options?: NbdOptions,
): Promise<DriveWriter> {
  const disk = await openNbdDisk(address, { ...options, lasting: false })
  try {
    checkTargetSize(formatNbdAddress(address), disk.size, size)
    return new DiskWriter(disk, { size, isZero })
  } catch (error) {
    await disk.close()
    throw error
  }
}
