/** A small drive and config to back up: data, written zeros, holes, an odd end. */

import { createHash, randomBytes } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

export const CONFIG = 'name: test\nscsi0: local:100/vm-100-disk-0.raw\n'

/** Writes disk.raw and qemu-server.conf into `dir`. */
export function writeGuest(dir: string): { disk: string; config: string; sha256: string } {
  const disk = join(dir, 'disk.raw')
  const config = join(dir, 'qemu-server.conf')
  const text = Buffer.alloc(1 << 20, 'a line that compresses well\n')
  writeFileSync(disk, Buffer.concat([randomBytes(700_000), Buffer.alloc(3 << 20), text, Buffer.alloc(1536)]))
  writeFileSync(config, CONFIG)
  return { disk, config, sha256: sha256(disk) }
}

export function sha256(path: string): string {
  return createHash('sha256').update(readFileSync(path)).digest('hex')
}
