/** `backup --attach … --since` of a guest whose disk server tracks changes, and of one that does not. */

import assert from 'node:assert/strict'
import { readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { backupGuest } from '../../../src/operations/backup-guest.ts'
import { restore } from '../../../src/operations/restore.ts'
import { NbdClient } from '../../../src/protocol/nbd/client.ts'
import { tmpDir } from '../../support/tmp.ts'
import { MiB, makeDisk } from '../images.ts'
import { type Serving, serve } from '../serving.ts'

const SIZE = 24 * MiB
const timeout = 60_000

interface Rig {
  dir: string
  disk: string
  serving: Serving
}

async function rig(t: TestContext, flags: string[]): Promise<Rig> {
  const dir = tmpDir(t)
  const disk = join(dir, 'disk')
  makeDisk(disk, SIZE)
  return { dir, disk, serving: await serve(t, { a: disk }, flags, dir) }
}

async function write({ serving }: Rig, offset: number): Promise<void> {
  const client = await NbdClient.connect({ socketPath: serving.socket, exportName: 'a' })
  await client.write([Buffer.alloc(70_000, 'changed')], offset)
  await client.close()
}

async function backUp({ serving, dir }: Rig, name: string, since?: string) {
  const told: string[] = []
  const to = join(dir, name)
  const inform = (line: string) => void told.push(line)
  const result = await backupGuest({ attach: serving.control, to, since: since && join(dir, since), inform })
  return { ...result, to, told: told.join('\n'), bytes: statSync(to).size }
}

async function assertRestored({ dir, disk }: Rig, archive: string): Promise<void> {
  const into = join(dir, `restored-${archive}`)
  await restore({ from: join(dir, archive), into })
  assert.ok(readFileSync(join(into, 'disk-a.raw')).equals(readFileSync(disk)), `${archive} is the disk`)
}

test('an incremental archive has what changed, and only that is read', { timeout }, async (t) => {
  const guest = await rig(t, ['--track'])
  await backUp(guest, 'full.vma')
  await write(guest, 5 * MiB)
  const { guest: status, manifest, bytes } = await backUp(guest, 'one.vmi', 'full.vma')
  assert.ok(manifest.isIncremental)
  assert.equal(status?.clusters.total, 16)
  assert.ok(bytes < 300_000, `${bytes} bytes`)
  await assertRestored(guest, 'one.vmi')
  await guest.serving.kill()
  guest.serving = await serve(t, { a: guest.disk }, ['--track'], guest.dir)
  await write(guest, 9 * MiB)
  const second = await backUp(guest, 'two.vmi', 'one.vmi')
  assert.equal(second.guest?.clusters.total, 16)
  assert.equal(second.manifest.record?.whole, undefined)
  await assertRestored(guest, 'two.vmi')
})

test('without tracking all is read and compared, and the archive says why', { timeout }, async (t) => {
  const guest = await rig(t, [])
  await backUp(guest, 'full.vma')
  await write(guest, 5 * MiB)
  const { guest: status, manifest, bytes, told } = await backUp(guest, 'one.vmi', 'full.vma')
  assert.ok(manifest.isIncremental)
  assert.equal(status?.clusters.total, SIZE / 65536)
  assert.ok(bytes < 300_000, `${bytes} bytes`)
  assert.match(told, /drive a is compared as a whole: .*without --track/)
  assert.match(manifest.record?.whole?.a ?? '', /without --track/)
  await assertRestored(guest, 'one.vmi')
})
