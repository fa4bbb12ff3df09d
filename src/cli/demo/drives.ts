/**
 * Makes the first content of the demo guest's drives: text, noise, written zeroes and holes, as real drives have them. Every MiB can
 * be made again at any time, so no copy is needed to check the restored drives.
 */

import { createCipheriv } from 'node:crypto'
import { open, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

export const MIB = 1 << 20
export const PAGE = 4096

/** Sizes in MiB. The rest of a drive is a hole. */
interface Layout {
  name: string
  size: number
  text: number
  noise: number
  zeros: number
}

const LAYOUTS: Layout[] = [
  { name: 'drive-scsi0', size: 512, text: 80, noise: 28, zeros: 32 },
  { name: 'drive-scsi1', size: 128, text: 12, noise: 8, zeros: 0 },
]

export const CONFIG = {
  name: 'qemu-server.conf',
  text: `name: demo
cores: 2
memory: 2048
scsi0: local:100/vm-100-disk-0.raw,size=512M
scsi1: local:100/vm-100-disk-1.raw,size=128M
`,
}

export class DemoDrive {
  readonly name: string
  /** Bytes. */
  readonly size: number
  readonly #kinds: ('text' | 'noise' | 'zeros' | undefined)[]

  constructor({ name, size, text, noise, zeros }: Layout) {
    this.name = name
    this.size = size * MIB
    this.#kinds = new Array(size).fill(undefined)
    const written = text + noise + zeros
    for (let index = 0; index < written; index++) {
      const kind = index < text ? 'text' : index < text + noise ? 'noise' : 'zeros'
      // Spread over the drive, so that data and holes alternate.
      this.#kinds[Math.floor((index * size) / written)] = kind
    }
  }

  get file(): string {
    return `${this.name}.raw`
  }

  isHole(mebibyte: number): boolean {
    return this.#kinds[mebibyte] === undefined
  }

  /** Writes this MiB of the drive into `into`. */
  fill(into: Buffer, mebibyte: number): void {
    const kind = this.#kinds[mebibyte]
    if (kind === 'text') fillWithText(into, mebibyte)
    else if (kind === 'noise') fillWithNoise(into, mebibyte)
    else into.fill(0)
    if (kind !== 'text' && kind !== 'noise') return
    // No two pages of the drives are the same: one that lands elsewhere is found out.
    for (let at = 0; at < MIB; at += PAGE) into.write(`${this.name} ${mebibyte * MIB + at}\n`, at)
  }
}

export const DRIVES: readonly DemoDrive[] = LAYOUTS.map((layout) => new DemoDrive(layout))

/** Writes the images and the config file into `dir`. */
export async function makeDrives(dir: string, signal: AbortSignal): Promise<void> {
  for (const drive of DRIVES) await makeImage(join(dir, drive.file), drive, signal)
  await writeFile(join(dir, CONFIG.name), CONFIG.text)
}

export async function makeImage(path: string, drive: DemoDrive, signal: AbortSignal): Promise<void> {
  const file = await open(path, 'wx')
  try {
    await file.truncate(drive.size)
    const piece = Buffer.alloc(MIB)
    for (let mebibyte = 0; mebibyte * MIB < drive.size; mebibyte++) {
      signal.throwIfAborted()
      if (drive.isHole(mebibyte)) continue
      drive.fill(piece, mebibyte)
      await file.write(piece, 0, MIB, mebibyte * MIB)
    }
  } finally {
    await file.close()
  }
}

/** So many different texts of a MiB: made once, they come back farther away than a compressor remembers. */
const TEXTS = 8
const texts: Buffer[] = []

/** Lines of a log: they compress as such things do. */
function fillWithText(into: Buffer, mebibyte: number): void {
  const seed = mebibyte % TEXTS
  texts[seed] ??= logText(seed)
  texts[seed].copy(into)
}

function logText(seed: number): Buffer {
  const text = Buffer.alloc(MIB, '\n')
  for (let at = 0, line = 0; at < MIB - 96; line++) {
    const number = (Math.imul(seed * 65536 + line, 2654435761) >>> 0).toString(16)
    at += text.write(`${seed}:${line} request ${number} took ${line % 997} ms, nothing unusual\n`, at)
  }
  return text
}

const zeroes = Buffer.alloc(MIB)

/** A cipher's stream is noise that can be made again. */
function fillWithNoise(into: Buffer, mebibyte: number): void {
  const start = Buffer.alloc(16)
  start.writeUInt32BE(mebibyte)
  createCipheriv('aes-128-ctr', Buffer.alloc(16, 'noise'), start).update(zeroes).copy(into)
}
