/** What may come between two backups of a guest, so that a bitmap does not tell all that was written. */

import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { closeSync, copyFileSync, ftruncateSync, openSync, renameSync } from 'node:fs'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { CLUSTER_SIZE } from '../../../../src/core/geometry.ts'
import { needsQemu, QEMU_BUILDS } from '../../../support/qemu-builds.ts'
import { type Backup, DRIVES, SIZE, TrackedMachine } from './tracked-machine.ts'

const timeout = 120_000

const [RAW, QCOW2] = DRIVES

for (const build of QEMU_BUILDS) {
  describe(`a bitmap of ${build.name}`, { timeout, ...needsQemu(build, 'qemu-system-x86_64') }, () => {
    const start = async (t: TestContext): Promise<[TrackedMachine, Backup]> => {
      const machine = await TrackedMachine.start(t, build)
      return [machine, await machine.backup()]
    }

    test('of a raw drive ends with QEMU; that of a qcow2 image is kept', { timeout }, async (t) => {
      const [machine, full] = await start(t)
      for (const drive of [0, 1]) await machine.write(drive, 7)
      await machine.quit()
      await machine.boot()
      for (const drive of [0, 1]) await machine.write(drive, 9)
      const { reasons, clusters } = await machine.backup({ since: full })
      assertReasons(reasons, { [RAW]: /QEMU has no bitmap/ })
      assert.equal(clusters[0].size, 65)
      assert.deepEqual([...clusters[1].keys()], [7, 9, 64])
    })

    test('is inconsistent if QEMU was killed; the next one is right again', { timeout }, async (t) => {
      const [machine, full] = await start(t)
      await machine.quit()
      await machine.boot()
      await machine.write(1, 7)
      await machine.io(1, 'flush')
      await machine.kill()
      await machine.boot()
      const second = await machine.backup({ since: full })
      assertReasons(second.reasons, { [RAW]: /QEMU has no bitmap/, [QCOW2]: /QEMU was killed/ })
      await machine.write(1, 8)
      const third = await machine.backup({ since: second })
      assertReasons(third.reasons, {})
      assert.deepEqual([...third.clusters[1].keys()], [8, 64])
      assert.deepEqual(await machine.kinds('node1'), ['end', 'since'])
    })

    test('of a drive that was made smaller and larger again is not trusted', { timeout }, async (t) => {
      const [machine, full] = await start(t)
      for (const drive of [0, 1]) {
        const resize = (size: number) => machine.monitor.execute('block_resize', { 'node-name': `node${drive}`, size })
        await resize(60 * CLUSTER_SIZE)
        await resize(SIZE)
        machine.truth[drive].fill(0, 60 * CLUSTER_SIZE)
        // The bits of the cluster that a new partition table is written to are set again.
        await machine.write(drive, 64)
      }
      assertReasons((await machine.backup({ since: full })).reasons, { [RAW]: /made smaller/, [QCOW2]: /made smaller/ })
    })

    test('of a drive that lost a part of its last cluster is right', { timeout }, async (t) => {
      const [machine, full] = await start(t)
      for (const size of [SIZE - 1024, SIZE])
        await machine.monitor.execute('block_resize', { 'node-name': 'node0', size })
      machine.truth[0].fill(0, SIZE - 1024)
      assertReasons((await machine.backup({ since: full })).reasons, {})
    })

    test('that somebody has disabled, removed or made anew is not trusted', { timeout }, async (t) => {
      const [machine, full] = await start(t)
      const names = await machine.bitmaps()
      const of = (drive: number) =>
        names.find(({ name, node }) => node === `node${drive}` && name.includes('since'))!.name
      await machine.monitor.execute('block-dirty-bitmap-disable', { node: 'node0', name: of(0) })
      await machine.monitor.execute('block-dirty-bitmap-remove', { node: 'node1', name: of(1) })
      for (const drive of [0, 1]) await machine.write(drive, 7)
      const { reasons } = await machine.backup({ since: full })
      assertReasons(reasons, { [RAW]: /disabled its bitmap/, [QCOW2]: /no bitmap/ })
    })

    test('keeps internal snapshots from being reverted to; without it the revert is told apart', {
      timeout,
    }, async (t) => {
      const [machine, full] = await start(t)
      const image = machine.images[1]
      const snapshot = { tag: 'before', vmstate: 'node1', devices: ['node1'] }
      await machine.monitor.execute('snapshot-save', { 'job-id': 'save', ...snapshot })
      assert.equal(await errorOf(machine, 'save'), '')
      const then = Buffer.from(machine.truth[1])
      await machine.write(1, 7)
      await machine.monitor.execute('snapshot-load', { 'job-id': 'load', ...snapshot })
      assert.match(await errorOf(machine, 'load'), /Device has active dirty bitmaps/)
      await machine.quit()
      const program = build.root === undefined ? 'qemu-img' : join(build.root, 'usr/bin/qemu-img')
      const revert = () => spawnSync(program, ['snapshot', '-a', 'before', image], { encoding: 'utf8' })
      assert.match(revert().stderr, /Device has active dirty bitmaps/)
      execFileSync('qemu-img', ['bitmap', '--remove', image, await nameIn(image, 'since')])
      execFileSync('qemu-img', ['bitmap', '--remove', image, await nameIn(image, 'end')])
      assert.equal(revert().status, 0)
      then.copy(machine.truth[1])
      await machine.boot()
      assertReasons((await machine.backup({ since: full })).reasons, { [RAW]: /no bitmap/, [QCOW2]: /no bitmap/ })
    })

    test('is not that of an image which was put in the place of the other', { timeout }, async (t) => {
      const [machine, full] = await start(t)
      await machine.quit()
      const copy = `${machine.images[1]}.copy`
      copyFileSync(machine.images[1], copy)
      const then = Buffer.from(machine.truth[1])
      await machine.boot()
      await machine.write(1, 7)
      const second = await machine.backup({ since: full })
      await machine.write(1, 8)
      await machine.quit()
      renameSync(copy, machine.images[1])
      then.copy(machine.truth[1])
      await machine.boot()
      await machine.write(1, 9)
      // The copy has its bitmap of then, which is right for the parent of then.
      assertReasons((await machine.backup({ since: second })).reasons, { [RAW]: /no bitmap/, [QCOW2]: /no bitmap/ })
    })

    test('stays right if the image of then comes back with it', { timeout }, async (t) => {
      const [machine, full] = await start(t)
      await machine.write(1, 6)
      await machine.quit()
      const copy = `${machine.images[1]}.copy`
      copyFileSync(machine.images[1], copy)
      const then = Buffer.from(machine.truth[1])
      await machine.boot()
      await machine.write(1, 7)
      await machine.quit()
      renameSync(copy, machine.images[1])
      then.copy(machine.truth[1])
      await machine.boot()
      const { reasons, clusters } = await machine.backup({ since: full })
      assertReasons(reasons, { [RAW]: /no bitmap/ })
      assert.deepEqual([...clusters[1].keys()], [6, 64])
    })

    test('is not trusted if the node has got another file', { timeout }, async (t) => {
      const [machine, full] = await start(t)
      const other = join(machine.dir, 'other.raw')
      const file = openSync(other, 'w')
      ftruncateSync(file, SIZE)
      closeSync(file)
      await machine.monitor.execute('blockdev-add', { driver: 'file', filename: other, 'node-name': 'other' })
      const options = [{ driver: 'raw', 'node-name': 'node0', file: 'other' }]
      await machine.monitor.execute('blockdev-reopen', { options })
      machine.truth[0].fill(0)
      assertReasons((await machine.backup({ since: full })).reasons, { [RAW]: /another image/ })
    })

    test('is not trusted if the node has got another file of the same name', { timeout }, async (t) => {
      const [machine, full] = await start(t)
      const [path] = machine.images
      renameSync(path, `${path}.old`)
      const file = openSync(path, 'w')
      ftruncateSync(file, SIZE)
      closeSync(file)
      await machine.monitor.execute('blockdev-add', { driver: 'file', filename: path, 'node-name': 'other' })
      const options = [{ driver: 'raw', 'node-name': 'node0', file: 'other' }]
      await machine.monitor.execute('blockdev-reopen', { options })
      machine.truth[0].fill(0)
      assertReasons((await machine.backup({ since: full })).reasons, { [RAW]: /another image/ })
    })

    test('is not trusted above an overlay of the owner; committed, it is right again', { timeout }, async (t) => {
      const [machine, full] = await start(t)
      const overlay = { 'node-name': 'node0', 'snapshot-file': join(machine.dir, 'overlay.qcow2'), format: 'qcow2' }
      await machine.monitor.execute('blockdev-snapshot-sync', { ...overlay, 'snapshot-node-name': 'top' })
      await machine.write(0, 7)
      const second = await machine.backup({ since: full })
      assertReasons(second.reasons, { [RAW]: /no bitmap/ })
      await machine.write(0, 8)
      const third = await machine.backup({ since: second })
      assertReasons(third.reasons, {})
      assert.deepEqual([...third.clusters[0].keys()], [8, 64])
      await machine.write(0, 9)
      await machine.monitor.execute('block-commit', { 'job-id': 'commit', device: 'top' })
      await ready(machine, 'commit')
      await machine.monitor.execute('job-complete', { id: 'commit' })
      await ended(machine, 'commit')
      assertReasons((await machine.backup({ since: third })).reasons, { [RAW]: /no bitmap/ })
    })

    test('is not trusted for another drive or another name', { timeout }, async (t) => {
      const [machine, full] = await start(t)
      await machine.quit()
      machine.images.reverse()
      machine.truth.reverse()
      await machine.boot()
      const { reasons } = await machine.backup({ since: full })
      assert.deepEqual(Object.keys(reasons), [RAW, QCOW2])
    })

    test('of a guest that was migrated: that of qcow2 goes along, that of raw is lost', { timeout }, async (t) => {
      const [machine, full] = await start(t)
      for (const drive of [0, 1]) await machine.write(drive, 7)
      const { monitor } = machine
      const socket = join(machine.dir, 'migration')
      await machine.boot(['-incoming', `unix:${socket}`])
      await monitor.execute('migrate', { uri: `unix:${socket}` })
      for (;;) {
        const { status } = await monitor.execute<{ status: string }>('query-migrate')
        assert.notEqual(status, 'failed')
        if (status === 'completed') break
        await sleep(20)
      }
      // The other side ends a moment later; a write before that would end QEMU.
      while ((await machine.monitor.execute<{ status: string }>('query-status')).status === 'inmigrate') await sleep(20)
      await machine.monitor.execute('cont')
      await machine.monitor.execute('stop')
      for (const drive of [0, 1]) await machine.write(drive, 9)
      const { reasons, clusters } = await machine.backup({ since: full })
      assertReasons(reasons, { [RAW]: /no bitmap/ })
      assert.deepEqual([...clusters[1].keys()], [7, 9, 64])
    })
  })
}

function assertReasons(reasons: Record<string, string>, wanted: Record<string, RegExp>): void {
  assert.deepEqual(Object.keys(reasons).sort(), Object.keys(wanted).sort(), JSON.stringify(reasons))
  for (const [drive, pattern] of Object.entries(wanted)) assert.match(reasons[drive], pattern)
}

interface Job {
  id: string
  status: string
  error?: string
}

async function jobOf({ monitor }: TrackedMachine, id: string): Promise<Job | undefined> {
  return (await monitor.execute<Job[]>('query-jobs')).find((job) => job.id === id)
}

async function ready(machine: TrackedMachine, id: string): Promise<void> {
  while ((await jobOf(machine, id))!.status !== 'ready') await sleep(10)
}

async function ended(machine: TrackedMachine, id: string): Promise<void> {
  while ((await jobOf(machine, id)) !== undefined) await sleep(10)
}

async function errorOf(machine: TrackedMachine, id: string): Promise<string> {
  for (;;) {
    const job = await jobOf(machine, id)
    if (job?.status === 'concluded') return job.error ?? ''
    await sleep(10)
  }
}

async function nameIn(image: string, kind: string): Promise<string> {
  const info = JSON.parse(execFileSync('qemu-img', ['info', '--output=json', image], { encoding: 'utf8' }))
  const bitmaps: { name: string }[] = info['format-specific'].data.bitmaps
  return bitmaps.find(({ name }) => name.startsWith(`vmapipe-${kind}-`))!.name
}
