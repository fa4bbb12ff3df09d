/** Overlays over an image that nobody may change. */

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { OverlayIdentity } from '../../../../src/storage/disks/overlay/map-file.ts'
import { openOverlay } from '../../../../src/storage/disks/overlay/open-overlay.ts'
import { OverlayDisk } from '../../../../src/storage/disks/overlay/overlay-disk.ts'
import type { DriveReader } from '../../../../src/storage/drive.ts'
import { openRawReader } from '../../../../src/storage/raw-drive.ts'
import { writeSparse } from '../../contract.ts'

export function identityOf(size: number, more: Partial<OverlayIdentity> = {}): OverlayIdentity {
  return { purpose: 'overlay', uuid: Buffer.alloc(16, 7), drive: 1, size, ...more }
}

/** `dir/base` with this content, and an overlay `dir/o` over it. */
export async function overlayOver(dir: string, image: Buffer): Promise<{ disk: OverlayDisk; base: DriveReader }> {
  writeSparse(join(dir, 'base'), image)
  return reopen(dir)
}

export async function reopen(dir: string, more: Partial<OverlayIdentity> = {}) {
  const base = await openRawReader(join(dir, 'base'))
  try {
    const files = await openOverlay(join(dir, 'o'), identityOf(base.size, more))
    return { disk: new OverlayDisk(base, files), base }
  } catch (error) {
    await base.close()
    throw error
  }
}

/** Everything that the disk reads as, written to a file. */
export async function contentOf(disk: OverlayDisk): Promise<Buffer> {
  const bytes = Buffer.alloc(disk.size, 0xee)
  await disk.read(bytes, 0)
  return bytes
}

export function damage(path: string, bytes: Buffer, at: number): void {
  bytes[at] ^= 0xff
  writeFileSync(path, bytes)
}
