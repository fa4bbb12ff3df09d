/** A real guest on disks that `vmapipe serve` serves: backed up while it writes and trims, and served on after a restart. */

import assert from 'node:assert/strict'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { restore } from '../../src/operations/restore.ts'
import { vmapipe } from '../cli/cli.ts'
import { makeGuestDisk } from '../support/guest/disk.ts'
import { assertCleanFilesystem, assertRestoredDisk, readDisk } from '../support/guest/filesystem.ts'
import { startGuest } from '../support/guest/guest.ts'
import { needsGuest } from '../support/guest/machine.ts'
import { checkOneInstant, checkRecords } from '../support/guest/records.ts'
import { tmpDir } from '../support/tmp.ts'
import { type Serving, serve } from './serving.ts'

const timeout = 120_000

/** Two disks and the guest that writes to them. */
async function writer(t: TestContext, { trim }: { trim?: number } = {}) {
  const dir = tmpDir(t)
  const images = { 'drive-scsi0': join(dir, 'a'), 'drive-scsi1': join(dir, 'b') }
  for (const image of Object.values(images)) makeGuestDisk(image, 'restored')
  const serving = await serve(t, images, [], dir)
  const disks = Object.keys(images).map((name) => ({ socket: serving.socket, name }))
  const guest = await startGuest(t, { role: 'writer', disks, ...(trim !== undefined && { trim }) })
  return { dir, images, serving, guest }
}

/** The archive's disks; each is of one instant, both of the same. The last record. */
async function assertRestored(
  t: TestContext,
  archive: string,
  bounds: { acked: number; begun: number; trim?: number },
): Promise<{ last: number; disk: string }> {
  const into = join(tmpDir(t), 'restored')
  const { drives } = await restore({ from: archive, into })
  const files = drives.map(({ name }) => join(into, `disk-${name}.raw`))
  const lasts = files.map((file) => assertRestoredDisk(t, file, bounds))
  checkOneInstant(lasts)
  return { last: lasts[0], disk: files[0] }
}

describe('a guest that vmapipe serves', needsGuest(), () => {
  test('is backed up while it writes and trims; the restored guest boots', { timeout }, async (t) => {
    const { dir, images, serving, guest } = await writer(t, { trim: 60 })
    const archive = join(dir, 'vm.vma.zst')
    await guest.waitFor('ACK 40')
    const { acked } = guest
    // Slow enough for the guest to trim in the middle of it.
    const backup = vmapipe(['backup', '--attach', serving.control, '--bwlimit', '12MiB/s', '-o', archive])
    const { begun } = await pointInTime(serving, () => guest.acked)
    await guest.waitFor('TRIMMED 60')
    assert.ok((await serving.status()).backup !== null, 'the trim came in the middle of the backup')
    const { code, stderr } = await backup
    assert.equal(code, 0, stderr)
    await guest.stop()
    assert.equal(await serving.stop(), 0)
    assert.deepEqual(guest.console.diskErrors, [])
    const end = Number((await guest.waitFor('DONE (\\d+)'))[1])
    for (const image of Object.values(images)) {
      assertCleanFilesystem(image)
      assert.equal(checkRecords(readDisk(t, image), { acked: end, begun: end, trim: 60 }), end)
    }

    const { last, disk } = await assertRestored(t, archive, { acked, begun, trim: 60 })
    t.diagnostic(`${end} records, ${last} in the archive (${acked} to ${begun} were possible)`)
    const again = await startGuest(t, { role: 'boot', disks: [{ file: disk }] })
    const [, marker, count] = await again.waitFor('BOOTED (\\S+) records (\\d+) last \\d+')
    assert.equal(marker, 'restored')
    assert.equal(Number(count), last)
    await again.poweredOff()
  })

  test('sees no error when its disk is ended in the middle of a backup and started again', { timeout }, async (t) => {
    const { dir, images, serving, guest } = await writer(t)
    await guest.waitFor('ACK 20')
    const response = await serving.ask('GET', '/backup?bwlimit=5MiB/s')
    response.on('error', () => {}).resume()
    await guest.waitFor('ACK 40')
    assert.equal(await serving.stop(), 0)
    assert.ok(!response.complete, 'what was sent of the archive is not taken for whole')
    const { acked } = guest
    await sleep(300)
    const next = await serve(t, images, [], dir)
    await guest.waitFor(`ACK ${acked + 20}`)
    await guest.stop()
    assert.equal(await next.stop(), 0)
    assert.deepEqual(guest.console.diskErrors, [])
    const end = Number((await guest.waitFor('DONE (\\d+)'))[1])
    for (const image of Object.values(images)) {
      assertCleanFilesystem(image)
      assert.equal(checkRecords(readDisk(t, image), { acked: end, begun: end }), end)
    }
  })
})

/** Resolves when a backup has begun: what was begun before its point in time, at most. */
async function pointInTime(serving: Serving, acked: () => number): Promise<{ begun: number }> {
  while (((await serving.status()).backup?.since ?? 0) === 0) await sleep(5)
  return { begun: acked() + 1 }
}
