/**
 * A backup of a small disk in memory, before any guest is there: code is loaded, compiled and made fast while nobody waits
 * for it. Without it the first writes during the first backup wait for tens of milliseconds.
 */

import { Writable } from 'node:stream'
import { CLUSTER_SIZE } from '../core/geometry.ts'
import type { Disk } from '../storage/disk.ts'
import { GuestDrive } from './guest-drive.ts'
import { LiveBackup } from './live-backup.ts'

const CLUSTERS = 256
const ROUNDS = 3
/** As in any backup: less than what the disk has, so that waiting is rehearsed too. */
const BUFFER = 16 << 20

export async function rehearse(): Promise<void> {
  for (let round = 0; round < ROUNDS; round++) await backUp(new GuestDrive(inMemory(CLUSTERS * CLUSTER_SIZE)))
}

async function backUp(drive: GuestDrive): Promise<void> {
  const to = new Writable({ write: (_bytes, _encoding, done) => setImmediate(done) })
  const backup = new LiveBackup({ drives: { rehearsal: drive }, to, buffer: BUFFER })
  const done = backup.run()
  const block = Buffer.alloc(4096, 1)
  const writes: unknown[] = []
  for (let cluster = CLUSTERS - 1; cluster >= 0; cluster -= 3) {
    // The scan comes from the other end.
    if (cluster % 4 === 0) await new Promise((resolve) => setImmediate(resolve))
    writes.push(drive.write([block], cluster * CLUSTER_SIZE))
  }
  await Promise.all([done, ...writes])
}

/** Half of its blocks are zero. */
function inMemory(size: number): Disk {
  const block = Buffer.alloc(8192).fill(0x5a, 0, 4096)
  return {
    size,
    readOnly: false,
    async read(buffer) {
      for (let at = 0; at < buffer.byteLength; at += block.length)
        buffer.set(block.subarray(0, Math.min(block.length, buffer.byteLength - at)), at)
    },
    write: async () => {},
    zero: async () => {},
    trim: async () => {},
    flush: async () => {},
    async *map(offset, length) {
      yield { offset, length, zero: false }
    },
    close: async () => {},
  }
}
