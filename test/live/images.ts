/** Disks for live backups, and what an archive says of them. */

import assert from 'node:assert/strict'
import { copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync, statfsSync } from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { Chunk, type Manifest, type Range, type RangeItem } from '../../src/core/items.ts'
import { restore } from '../../src/operations/restore.ts'
import { verify } from '../../src/operations/verify.ts'
import { vmaDeframer } from '../../src/stages/vma-deframer.ts'
import { zeroExpander } from '../../src/stages/zero-expander.ts'
import { through } from '../support/flow.ts'
import { writeImage } from '../support/image.ts'
import { tmpDir } from '../support/tmp.ts'

export const MiB = 2 ** 20

type Hooks = { after(hook: () => void): void }

/** A disk of noise and text, with a hole of `hole` bytes before its last cluster and an odd end. */
export function makeDisk(path: string, size: number, { hole = 0 } = {}): void {
  const tail = 65536
  writeImage(path, size, { noise: size >> 2, text: size - (size >> 2) - tail - hole, tail })
}

/**
 * A folder in memory where there is room for so many bytes, for disks whose times are measured: others make a real disk
 * wait. It goes away with the test.
 */
export function memoryDir(t: Hooks, bytes: number): string {
  const memory = '/dev/shm'
  const stats = existsSync(memory) ? statfsSync(memory) : undefined
  if (stats === undefined || stats.bavail * stats.bsize < bytes) return tmpDir(t)
  const dir = mkdtempSync(join(memory, 'vmapipe-test-'))
  t.after(() => rmSync(dir, { recursive: true, force: true }))
  return dir
}

export function keepCopy(path: string): string {
  copyFileSync(path, `${path}.before`)
  return `${path}.before`
}

/** The archive is whole, and holds exactly these images and config files. */
export async function assertArchive(
  t: Hooks,
  archive: string | Buffer,
  images: Record<string, string>,
  configs: Record<string, string> = {},
): Promise<void> {
  const from = () => (typeof archive === 'string' ? archive : Readable.from(pieces(archive)))
  const { drives } = await verify({ from: from() })
  assert.deepEqual(drives.map(({ name }) => name).sort(), Object.keys(images).sort())
  const into = join(tmpDir(t), 'restored')
  await restore({ from: from(), into })
  for (const [name, image] of Object.entries(images)) assertSame(join(into, `disk-${name}.raw`), image)
  for (const [name, text] of Object.entries(configs)) assert.equal(readFileSync(join(into, name), 'utf8'), text)
}

export function assertSame(one: string, other: string): void {
  const [a, b] = [readFileSync(one), readFileSync(other)]
  assert.equal(a.length, b.length)
  if (a.equals(b)) return
  const at = a.findIndex((byte, index) => byte !== b[index])
  assert.fail(`${one} and ${other} differ from byte ${at} on`)
}

function* pieces(bytes: Buffer): Generator<Buffer> {
  for (let at = 0; at < bytes.length; at += MiB) yield bytes.subarray(at, at + MiB)
}

/** The drives of an archive, by name. */
export async function imagesOf(archive: Buffer): Promise<Map<string, Buffer>> {
  const items = await through<RangeItem>('bytes', [new Chunk([archive])], [vmaDeframer(), zeroExpander()])
  const { drives } = items[0] as Manifest
  const images = new Map(drives.map(({ id, size }) => [id, Buffer.alloc(size, 0xee)]))
  for (const { drive, offset, length, data } of items.slice(1) as Range[]) {
    if (data === null) images.get(drive)!.fill(0, offset, offset + length)
    else Buffer.concat(data).copy(images.get(drive)!, offset)
  }
  return new Map(drives.map(({ id, name }) => [name, images.get(id)!]))
}
