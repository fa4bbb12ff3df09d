import assert from 'node:assert/strict'
import { statSync } from 'node:fs'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { qemuBackup } from '../../src/jobs/qemu-backup.ts'
import { restore } from '../../src/jobs/restore.ts'
import { footprintOf, namesIn } from '../../src/live/qemu/footprint.ts'
import { QmpClient } from '../../src/protocol/qmp/client.ts'
import { makeGuestDisk } from '../support/guest/disk.ts'
import { assertCleanFilesystem, readDisk } from '../support/guest/filesystem.ts'
import { type Guest, startGuest } from '../support/guest/guest.ts'
import { needsGuest } from '../support/guest/machine.ts'
import { checkRecords } from '../support/guest/records.ts'
import { tmpDir } from '../support/tmp.ts'

const timeout = 120_000

interface Running {
  guest: Guest
  qmp: string
  monitor: QmpClient
}

/** A guest that writes records to these disks; or one that goes on doing so, from its memory. */
async function run(t: TestContext, disks: readonly string[], args: readonly string[] = []): Promise<Running> {
  const dir = tmpDir(t)
  const [qmp, own] = ['qmp', 'own'].map((name) => join(dir, name))
  const sockets = [qmp, own].flatMap((path) => ['-qmp', `unix:${path},server=on,wait=off`])
  const guest = await startGuest(t, {
    role: 'writer',
    disks: disks.map((file) => ({ file })),
    args: [...sockets, ...args],
  })
  const monitor = await connected(own)
  t.after(() => monitor.close())
  return { guest, qmp, monitor }
}

async function connected(path: string): Promise<QmpClient> {
  for (;;) {
    const monitor = await QmpClient.connect(path).catch(() => null)
    if (monitor !== null) return monitor
    await sleep(20)
  }
}

async function status({ monitor }: Running): Promise<string> {
  return (await monitor.execute('query-status')).status
}

async function assertUntouched(it: Running): Promise<void> {
  assert.deepEqual(namesIn(await footprintOf(it.monitor)), [])
  const all = await it.monitor.execute<{ capability: string; state: boolean }[]>('query-migrate-capabilities')
  assert.equal(all.find(({ capability }) => capability === 'background-snapshot')?.state, false)
}

describe('a backup with the memory of the guest', needsGuest(), () => {
  test('is run back and goes on with the record after the last one of the instant', { timeout }, async (t) => {
    const dir = tmpDir(t)
    const disks = [0, 1].map((index) => join(dir, `disk${index}`))
    for (const disk of disks) makeGuestDisk(disk, 'ram')
    const it = await run(t, disks)
    await it.guest.waitFor('ACK 50')

    const [from, into] = [join(dir, 'vm.vma.zst'), join(dir, 'restored')]
    const { acked } = it.guest
    const { drives } = await qemuBackup({ qmp: it.qmp, to: from, withRam: true })
    const begun = it.guest.acked + 1
    t.diagnostic(`${JSON.stringify(drives)}`)
    assert.equal(await status(it), 'running')
    await it.guest.waitFor(`ACK ${begun + 20}`)
    assert.deepEqual(it.guest.console.diskErrors, [])
    await assertUntouched(it)
    await it.guest.kill()

    await restore({ from, into })
    const state = join(into, 'vmstate.bin')
    assert.ok(statSync(state).blocks * 512 < 256 << 20, 'only what the guest has in its memory is stored')
    const images = [0, 1].map((index) => join(into, `disk-drive-disk${index}.raw`))
    const back = await run(t, images, ['-incoming', `exec:cat '${state}'`])
    while ((await status(back)) === 'inmigrate') await sleep(20)
    assert.equal(await status(back), 'paused')
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
