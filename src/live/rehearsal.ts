/**
 * Backs up a small disk in memory through real sockets before any guest is there, so that the code is loaded and compiled
 * beforehand. Without this the first writes during the first backup wait for tens of milliseconds.
 */

import { join } from 'node:path'
import { Budget } from '../core/budget.ts'
import { CLUSTER_SIZE } from '../core/geometry.ts'
import { NbdClient } from '../protocol/nbd/client.ts'
import type { Disk } from '../storage/disk.ts'
import { socketFolder } from '../storage/socket-folder.ts'
import { ControlClient } from './control/client.ts'

const NAME = 'rehearsal'
const CLUSTERS = 256
const ROUNDS = 3
/** Bytes of the buffer: fewer than the disk has, so that waiting is rehearsed too. */
const BUFFER = 16 << 20

interface Rehearsed {
  start(): Promise<void>
  stop(): Promise<void>
}

interface Props {
  drives: Record<string, Disk>
  socket: string
  control: string
}

/** False if it failed, such as for want of a folder for sockets. The service starts all the same. */
export async function rehearse(serviceOf: (props: Props) => Rehearsed): Promise<boolean> {
  const folder = await socketFolder().catch(() => null)
  if (folder === null) return false
  const [socket, control] = [join(folder.path, 'nbd'), join(folder.path, 'ctl')]
  const service = serviceOf({ drives: { [NAME]: inMemory(CLUSTERS * CLUSTER_SIZE) }, socket, control })
  try {
    await service.start()
    const guest = await NbdClient.connect({ socketPath: socket, exportName: NAME })
    for (let round = 0; round < ROUNDS; round++) await backUp(guest, new ControlClient(control))
    await guest.close()
    return true
  } catch {
    return false
  } finally {
    await service.stop().catch(() => {})
    await folder.remove()
  }
}

async function backUp(guest: NbdClient, client: ControlClient): Promise<void> {
  const wish = { buffer: BUFFER }
  const source = await client.backup(wish)
  const block = Buffer.alloc(4096, 1)
  const writes: Promise<unknown>[] = []
  // The scan comes from the other end.
  for (let cluster = CLUSTERS - 1; cluster >= 0; cluster -= 3) writes.push(guest.write([block], cluster * CLUSTER_SIZE))
  const budget = new Budget(BUFFER)
  await client.status()
  for (let item = await source.read(budget); item !== null; item = await source.read(budget)) item.release()
  await Promise.all(writes)
  await source.confirmed()
  source.close()
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
