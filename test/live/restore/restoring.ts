/** Live restores of a small archive, in this process or as a command. */

import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { backup } from '../../../src/operations/backup.ts'
import { LiveRestore, type LiveRestoreOptions } from '../../../src/operations/live-restore.ts'
import { NbdClient } from '../../../src/protocol/nbd/client.ts'
import { sampleImage, writeSparse } from '../../storage/contract.ts'
import { tmpDir } from '../../support/tmp.ts'

export const MiB = 2 ** 20

export interface Made {
  dir: string
  archive: string
  /** Where it is restored. */
  into: string
  images: { a: Buffer; b: Buffer }
}

export const CONFIG = 'name: vm\n'

/** An archive of two drives and a config file. */
export async function makeArchive(t: TestContext, extension = 'vma'): Promise<Made> {
  const dir = tmpDir(t)
  const images = { a: Buffer.concat([sampleImage(8 * MiB), sampleImage(4 * MiB)]), b: sampleImage(3 * MiB + 1536) }
  writeSparse(join(dir, 'a'), images.a)
  writeSparse(join(dir, 'b'), images.b)
  writeFileSync(join(dir, 'vm.conf'), CONFIG)
  const archive = join(dir, `vm.${extension}`)
  const drives = { a: join(dir, 'a'), b: join(dir, 'b') }
  await backup({ drives, configs: { 'vm.conf': join(dir, 'vm.conf') }, to: archive })
  return { dir, archive, into: join(dir, 'restored'), images }
}

/** A restore in this process. It is stopped with the test. */
export async function restoreLive(
  t: TestContext,
  { dir, archive, into }: Made,
  options: Partial<LiveRestoreOptions> = {},
) {
  const socket = join(dir, 'socket')
  const restore = await LiveRestore.open({ from: archive, into, socket, ...options })
  t.after(() => restore.stop().catch(() => {}))
  await restore.start()
  return { restore, connect: (exportName: string) => NbdClient.connect({ socketPath: socket, exportName }) }
}

export function imageAt({ into }: Made, drive: string): Buffer {
  return readFileSync(join(into, `disk-${drive}.raw`))
}

export async function readAll(client: NbdClient): Promise<Buffer> {
  const bytes = Buffer.alloc(client.size)
  for (let at = 0; at < bytes.length; at += MiB) await client.read(bytes.subarray(at, at + MiB), at)
  return bytes
}
