import assert from 'node:assert/strict'
import { statSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { backupGuest } from '../../src/operations/backup-guest.ts'
import { restore } from '../../src/operations/restore.ts'
import { assertCleanFilesystem, readDisk } from '../support/guest/filesystem.ts'
import { needsGuest } from '../support/guest/machine.ts'
import { checkRecords } from '../support/guest/records.ts'
import { NEWER } from '../support/qemu-builds.ts'
import { tmpDir } from '../support/tmp.ts'
import { assertUnharmed, runBack, startRamGuest, statusOf } from './ram-guest.ts'

const timeout = 120_000

describe('a backup with the memory of the guest', needsGuest(NEWER), () => {
  test('is run back and goes on with the record after the last one of the instant', { timeout }, async (t) => {
    const it = await startRamGuest(t, NEWER)
    const dir = tmpDir(t)
    const [from, into] = [join(dir, 'vm.vma.zst'), join(dir, 'restored')]
    const { acked } = it.guest
    await backupGuest({ qmp: it.qmp, to: from, withRam: true })
    const begun = it.guest.acked + 1
    await assertUnharmed(it)
    await it.guest.kill()

    await restore({ from, into })
    const state = join(into, 'vmstate.bin')
    assert.ok(statSync(state).blocks * 512 < 256 << 20, 'only what the guest has in its memory is stored')
    const images = [0, 1].map((index) => join(into, `disk-drive-disk${index}.raw`))
    const back = await runBack(t, NEWER, images, state)
    assert.equal(await statusOf(back), 'paused')
    await back.monitor.execute('cont')
    const first = Number((await back.guest.waitFor('ACK (\\d+)'))[1])
    assert.ok(first > acked && first <= begun + 1, `went on with record ${first}, of ${acked} to ${begun}`)
    await back.guest.waitFor(`ACK ${first + 50}`)
    await back.guest.stop()
    const last = Number((await back.guest.waitFor('DONE (\\d+)'))[1])
    for (const image of images) {
      assertCleanFilesystem(image)
      assert.equal(checkRecords(readDisk(t, image), { acked: last, begun: last }), last)
    }
  })
})
