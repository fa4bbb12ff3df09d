/** A made-up guest for the demo: drives with text, noise, written zeros and holes, as real ones have them. */

import { randomFillSync } from 'node:crypto'
import { open, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

export interface DemoDrive {
  name: string
  path: string
  size: number
}

export interface DemoGuest {
  drives: DemoDrive[]
  config: string
}

const MIB = 1 << 20

/** What a drive begins with, in MiB; the rest of it is a hole. */
interface Layout {
  name: string
  size: number
  text: number
  noise: number
  zeros: number
}

const LAYOUTS: Layout[] = [
  { name: 'drive-scsi0', size: 512, text: 96, noise: 64, zeros: 64 },
  { name: 'drive-scsi1', size: 128, text: 16, noise: 16, zeros: 0 },
]

const CONFIG = `name: demo
cores: 2
memory: 2048
scsi0: local:100/vm-100-disk-0.raw,size=512M
scsi1: local:100/vm-100-disk-1.raw,size=128M
`

/** Writes the images and qemu-server.conf into `dir`. */
export async function makeGuest(dir: string, signal: AbortSignal): Promise<DemoGuest> {
  const drives: DemoDrive[] = []
  for (const layout of LAYOUTS) {
    const path = join(dir, `${layout.name}.raw`)
    await makeImage(path, layout, signal)
    drives.push({ name: layout.name, path, size: layout.size * MIB })
  }
  const config = join(dir, 'qemu-server.conf')
  await writeFile(config, CONFIG)
  return { drives, config }
}

async function makeImage(path: string, { size, text, noise, zeros }: Layout, signal: AbortSignal): Promise<void> {
  const file = await open(path, 'wx')
  try {
    await file.truncate(size * MIB)
    const piece = Buffer.alloc(MIB)
    for (let index = 0; index < text + noise + zeros; index++) {
      signal.throwIfAborted()
      if (index < text) fillWithText(piece, index)
      else if (index < text + noise) randomFillSync(piece)
      else piece.fill(0)
      // Spread over the drive, so that data and holes take turns.
      await file.write(piece, 0, MIB, Math.floor((index * size) / (text + noise + zeros)) * MIB)
    }
  } finally {
    await file.close()
  }
}

/** Lines of a log: they compress as such things do. */
function fillWithText(piece: Buffer, seed: number): void {
  for (let at = 0, line = 0; at < piece.length; line++) {
    const number = (Math.imul(seed * 65536 + line, 2654435761) >>> 0).toString(16)
    at += piece.write(`${seed}:${line} request ${number} took ${line % 997} ms, nothing unusual\n`, at)
    if (piece.length - at < 96) at += piece.fill(10, at).length
  }
}
