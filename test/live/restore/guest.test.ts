/** A real guest that runs from its backup while that is restored. */

import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { backup } from '../../../src/operations/backup.ts'
import { makeGuestDisk } from '../../support/guest/disk.ts'
import { assertCleanFilesystem, readDisk } from '../../support/guest/filesystem.ts'
import { startGuest } from '../../support/guest/guest.ts'
import { needsGuest } from '../../support/guest/machine.ts'
import { checkRecords } from '../../support/guest/records.ts'
import { tmpDir } from '../../support/tmp.ts'
import { serveBy } from '../serving.ts'

const timeout = 120_000
const NAME = 'drive-virtio0'

describe('a guest on a live restore', needsGuest(), () => {
  test('writes and trims from the first moment on, over a kill of the restore', { timeout }, async (t) => {
    const dir = tmpDir(t)
    const [image, archive, into] = ['disk', 'vm.vma.zst', 'restored'].map((name) => join(dir, name))
    makeGuestDisk(image, 'restored-live')
    await backup({ drives: { [NAME]: image }, to: archive })
    const command = ['restore', archive, into, '--live']
    const first = await serveBy(t, [...command, '--bwlimit', '200KiB/s'], dir)
    const disks = [{ socket: first.socket, name: NAME }]
    const guest = await startGuest(t, { role: 'writer', trim: 60, disks })
    await guest.waitFor('ACK 30')
    // The guest waits for its disk, and does not notice.
    await first.kill()
    assert.ok(!existsSync(join(into, `disk-${NAME}.raw`)), 'the guest was earlier than the restore')
    const next = await serveBy(t, command, dir)
    await guest.waitFor('TRIMMED 60')
    while (!/complete: the images are in/.test(next.log)) await sleep(20)
    const { acked } = guest
    await guest.waitFor(`ACK ${acked + 20}`)
    await guest.stop()
    assert.equal(await next.stop(), 0)
    assert.deepEqual(guest.console.diskErrors, [])
    const last = Number((await guest.waitFor('DONE (\\d+)'))[1])
    const restored = join(into, `disk-${NAME}.raw`)
    assertCleanFilesystem(restored)
    assert.equal(checkRecords(readDisk(t, restored), { acked: last, begun: last, trim: 60 }), last)

    const again = await startGuest(t, { role: 'boot', disks: [{ file: restored }] })
    const [, marker, count] = await again.waitFor('BOOTED (\\S+) records (\\d+) last \\d+')
    assert.equal(marker, 'restored-live')
    assert.equal(Number(count), last)
    await again.poweredOff()
  })
})
