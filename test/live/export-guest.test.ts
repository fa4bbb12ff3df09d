/** A real guest that boots from its backup: `vmapipe export --overlay` is its disk. */

import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { backup } from '../../src/operations/backup.ts'
import { NbdClient } from '../../src/protocol/nbd/client.ts'
import { makeGuestDisk } from '../support/guest/disk.ts'
import { assertCleanFilesystem, assertRestoredDisk, readDisk } from '../support/guest/filesystem.ts'
import { startGuest } from '../support/guest/guest.ts'
import { needsGuest } from '../support/guest/machine.ts'
import { checkRecords } from '../support/guest/records.ts'
import { tmpDir } from '../support/tmp.ts'
import { type Serving, serveBy } from './serving.ts'

const timeout = 120_000
const DRIVE = 'drive-virtio0'

/** A backup of a guest's disk, and the command that exports it with an overlay. */
async function backedUpGuest(t: TestContext) {
  const dir = tmpDir(t)
  const image = join(dir, 'disk')
  makeGuestDisk(image, 'from-the-backup')
  const archive = join(dir, 'vm.vma')
  await backup({ drives: { [DRIVE]: image }, to: archive })
  return { dir, archive, command: ['export', archive, '--overlay', join(dir, 'changes')] }
}

function disksOf({ socket }: Serving) {
  return [{ socket, name: DRIVE }]
}

/** The export's content as a file. */
async function imageOf(dir: string, { socket }: Serving): Promise<string> {
  const client = await NbdClient.connect({ socketPath: socket, exportName: DRIVE })
  const bytes = Buffer.alloc(client.size)
  for (let at = 0; at < bytes.length; at += 2 ** 20) await client.read(bytes.subarray(at, at + 2 ** 20), at)
  await client.close()
  writeFileSync(join(dir, 'content'), bytes)
  return join(dir, 'content')
}

describe('a guest on an export with an overlay', needsGuest(), () => {
  test('boots from the backup, writes and trims, and finds it all after a restart of the export', {
    timeout,
  }, async (t) => {
    const { dir, archive, command } = await backedUpGuest(t)
    const before = readFileSync(archive)
    const serving = await serveBy(t, command, dir)
    const guest = await startGuest(t, { role: 'writer', trim: 30, disks: disksOf(serving) })
    await guest.waitFor('TRIMMED 30')
    await guest.waitFor('ACK 50')
    await guest.stop()
    const last = Number((await guest.waitFor('DONE (\\d+)'))[1])
    assert.deepEqual(guest.console.diskErrors, [])
    assert.equal(await serving.stop(), 0)

    const again = await serveBy(t, command, dir)
    const image = await imageOf(dir, again)
    assertCleanFilesystem(image)
    assert.equal(checkRecords(readDisk(t, image), { acked: last, begun: last, trim: 30 }), last)
    const next = await startGuest(t, { role: 'boot', disks: disksOf(again) })
    const [, marker, count] = await next.waitFor('BOOTED (\\S+) records (\\d+) last \\d+')
    assert.equal(marker, 'from-the-backup')
    assert.equal(Number(count), last)
    await next.poweredOff()
    assert.equal(await again.stop(), 0)
    assert.ok(readFileSync(archive).equals(before), 'the archive is untouched')
  })

  test('loses no acknowledged record when the export is killed', { timeout }, async (t) => {
    const { dir, command } = await backedUpGuest(t)
    const serving = await serveBy(t, command, dir)
    const guest = await startGuest(t, { role: 'writer', disks: disksOf(serving) })
    await guest.waitFor('ACK 30')
    const { acked } = guest
    await serving.kill()
    await guest.kill()
    const begun = guest.acked + 1
    const again = await serveBy(t, command, dir)
    assertRestoredDisk(t, await imageOf(dir, again), { acked, begun })
  })
})
