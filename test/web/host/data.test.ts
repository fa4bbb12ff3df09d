import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { NbdClient } from '../../../src/protocol/nbd/client.ts'
import { QmpClient } from '../../../src/protocol/qmp/client.ts'
import type { House } from '../../../src/web/house.ts'
import { serve } from '../../live/serving.ts'
import { makeBootable, needsBootable } from '../../support/guest/bootable.ts'
import { libguestfsEnvironment, needsLibguestfs } from '../../support/libguestfs.ts'
import { startQemu } from '../../support/qemu.ts'
import { needs } from '../../support/tools.ts'
import { ended, HOST, hosted, runOn, until } from './hosted.ts'

const timeout = 240_000
const NEVER = new AbortController().signal

async function firstArchive(house: House) {
  const [archive] = await until(async () => {
    const all = await house.archives({})
    return all.length > 0 && all
  }, 'an archive')
  return archive
}

/** Processes of ours that read this archive. */
function readersOf(place: string): number {
  return readdirSync('/proc').filter((pid) => {
    try {
      return /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(place)
    } catch {
      return false
    }
  }).length
}

describe('downloads', () => {
  test('a drive comes as it was, no faster than it is read, and nothing is left of one that is given up', {
    timeout,
  }, async (t) => {
    const host = hosted(t)
    const disk = host.disk('web "1"', 32 << 20)
    host.job('nightly', { 'web "1"': disk })
    const house = await host.open(t)
    await runOn(house, 'nightly')
    const { id } = await firstArchive(house)
    const asked = { host: HOST, archive: id, drive: 'drive-scsi0' }
    const { name, size, content } = await house.download(asked, NEVER)
    assert.match(name, /^web-1-\d{4}[A-Za-z0-9._-]+-drive-scsi0\.raw$/)
    assert.equal(size, 32 << 20)
    assert.ok((await buffer(content)).equals(readFileSync(disk)))

    const end = new AbortController()
    const slow = await house.download(asked, end.signal)
    const first: Readable = slow.content
    await once(first, 'readable')
    await until(async () => readersOf(host.place) > 0, 'its child')
    // Nobody reads on: the child waits with all the rest.
    const written = () => readWritten(host.place)
    let before = -1
    await until(async () => {
      const now = written()
      const isSame = now === before && now > 0
      before = now
      await sleep(300)
      return isSame
    }, 'a child that waits')
    assert.ok(before < 8 << 20, `${before} bytes were written ahead`)
    end.abort()
    await until(async () => readersOf(host.place) === 0, 'the end of its child')
    await until(async () => first.destroyed, 'the end of its stream')

    // As the browser goes: the stream is destroyed.
    const { content: gone } = await house.download(asked, NEVER)
    gone.destroy()
    await until(async () => readersOf(host.place) === 0, 'the end of the second child')
    await assert.rejects(house.download({ ...asked, drive: 'drive-scsi9' }, NEVER), { code: 'USAGE' })
    await assert.rejects(house.download({ host: HOST, archive: id }, NEVER), { code: 'USAGE' })
  })

  test('an archive that is damaged ends the download with its error', { timeout }, async (t) => {
    const host = hosted(t)
    host.job('nightly', { web: host.disk('web', 16 << 20) })
    const house = await host.open(t)
    const { guests } = await runOn(house, 'nightly')
    const { id } = await firstArchive(house)
    const [place] = guests[0].places
    const bytes = readFileSync(place)
    bytes.fill(7, bytes.length - 1_500_000, bytes.length - 1_400_000)
    writeFileSync(place, bytes)
    const got = async () => {
      const { content } = await house.download({ host: HOST, archive: id, drive: 'drive-scsi0' }, NEVER)
      await buffer(content)
    }
    await assert.rejects(got(), { code: 'FAILED', message: /zstd frame/ })
  })

  test('files of the guest are listed and come out one by one', {
    timeout: 900_000,
    ...needsLibguestfs(),
  }, async (t) => {
    const host = hosted(t)
    const disk = join(host.dir, 'ext4.raw')
    const tree = join(host.dir, 'tree')
    mkdirSync(join(tree, 'etc/deep'), { recursive: true })
    writeFileSync(join(tree, 'etc/<b> "x"'), Buffer.alloc(3_000_000, 5))
    writeFileSync(disk, '')
    truncateSync(disk, 64 << 20)
    execFileSync('mkfs.ext4', ['-q', '-d', tree, disk])
    host.job('nightly', { web: disk })
    const house = await host.open(t, { env: { ...host.env, ...libguestfsEnvironment() } })
    await runOn(house, 'nightly')
    const { id } = await firstArchive(house)
    assert.deepEqual(
      (await house.files(HOST, id, '/')).map(({ name, folder }) => [name, folder]),
      [['drive-scsi0', true]],
    )
    const etc = await house.files(HOST, id, '/drive-scsi0/etc')
    assert.deepEqual(
      etc.toSorted((a, b) => (a.name < b.name ? -1 : 1)),
      [
        { name: '<b> "x"', folder: false, size: 3_000_000 },
        { name: 'deep', folder: true, size: null },
      ],
    )
    const asked = { host: HOST, archive: id, file: '/drive-scsi0/etc/<b> "x"' }
    const odd = await house.download(asked, NEVER)
    assert.deepEqual([odd.name, odd.size], ['_b_ _x_', 3_000_000])
    assert.ok((await buffer(odd.content)).equals(Buffer.alloc(3_000_000, 5)))
    const wrong = ['/drive-scsi0/../x', '/none/x', '/drive-scsi0', '/', '/drive-scsi0/etc/none', 'a\0']
    for (const path of wrong)
      await assert.rejects(house.download({ ...asked, file: path }, NEVER), { code: 'USAGE' }, path)
  })
})

/** Bytes that the child which reads this place has written. */
function readWritten(place: string): number {
  for (const pid of readdirSync('/proc')) {
    try {
      if (!/^\d+$/.test(pid) || !readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(place)) continue
      return Number(/wchar: (\d+)/.exec(readFileSync(`/proc/${pid}/io`, 'utf8'))![1])
    } catch {
      // It has ended.
    }
  }
  return -1
}

describe('running guests', () => {
  test('of vmapipe serve: stages and write latency are on the page while it is backed up', { timeout }, async (t) => {
    const host = hosted(t)
    const serving = await serve(t, { 'drive-scsi0': host.disk('served', 8 << 20) })
    const client = await NbdClient.connect({ socketPath: serving.socket, exportName: 'drive-scsi0' })
    t.after(() => client.close())
    host.jobOf(
      'live',
      `  - { attach: ${JSON.stringify(serving.control)}, name: served }\n`,
      `to: ${host.place}\nlimits: { rate: 512KiB }\n`,
    )
    const house = await host.open(t)
    const end = new AbortController()
    const writes = (async () => {
      for (let at = 0; !end.signal.aborted; at++, await sleep(5))
        await client.write([Buffer.alloc(4096, at)], (at % 1000) * 4096)
    })()
    const [guest] = (await house.guests()).filter(({ guest }) => guest === 'served')
    assert.deepEqual([guest.running, guest.source], [true, `attach:${serving.control}`])
    const run = await house.act({ do: 'start', host: HOST, job: 'live' }, 'ann')
    const row = await until(async () => {
      const { rows } = await house.now()
      return rows.find(({ latency }) => latency?.points.some(([at]) => at > 0))
    }, 'latency')
    assert.equal(row.run, run)
    assert.ok(row.latency!.before! > 0)
    assert.ok(row.stats!.stages.length > 3)
    await house.act({ do: 'cancel', id: row.id }, 'ann')
    await until(async () => (await serving.status()).backup === null, 'a guest that is free')
    end.abort()
    await writes
  })

  test('of a stock QEMU: restored as a folder with run.sh, by the form', {
    timeout,
    ...needs('qemu-system-x86_64'),
  }, async (t) => {
    const host = hosted(t)
    const own = join(host.dir, 'own')
    const { qmp } = await startQemu(t, [
      ...['-drive', `file=${host.disk('stock')},format=raw,if=none,id=drive0`],
      ...['-device', 'virtio-blk-pci,drive=drive0,id=disk0', '-qmp', `unix:${own},server=on,wait=off`],
    ])
    const monitor = await QmpClient.connect(own)
    t.after(() => monitor.close())
    host.jobOf('live', `  - { qmp: ${JSON.stringify(qmp)}, name: stock }\n`, `to: ${host.place}\n`)
    const house = await host.open(t, { restoreTo: [host.dir] })
    assert.equal((await runOn(house, 'live')).outcome, 'all')
    const { id } = await firstArchive(house)
    const content = await house.content(HOST, id)
    assert.ok(content.configs.includes('guest.json') && content.drives.length === 1, JSON.stringify(content))
    const folder = join(host.dir, 'new vm')
    const form = { host: HOST, archive: id, drives: {}, qemu: { folder } }
    const task = await ended(house, await house.act({ do: 'restore', form }, 'ann'))
    assert.equal(task.state, 'done', task.lines.join('\n'))
    assert.ok(existsSync(join(folder, 'run.sh')))
  })

  test('a boot check that fails is told, and its picture is shown', {
    timeout: 600_000,
    ...needsBootable('bios'),
  }, async (t) => {
    const host = hosted(t)
    const disk = join(host.dir, 'disk')
    makeBootable(t, disk, { firmware: 'bios', behaviour: 'off' })
    host.job('nightly', { web: disk })
    const house = await host.open(t)
    await runOn(house, 'nightly')
    const { id } = await firstArchive(house)
    const began = await house.act({ do: 'boot', host: HOST, archive: id }, 'ann')
    const task = await until(
      async () => (await house.now()).tasks.find((one) => one.id === began && one.ended !== null),
      'the end of the boot',
    )
    assert.equal(task.state, 'failed')
    assert.match(task.lines.at(-1)!, /the guest does not boot: the guest switched itself off/)
    const row = await until(async () => {
      const [one] = await house.archives({})
      return one.checks.length > 0 && one
    }, 'the check')
    assert.deepEqual([row.checks[0].kind, row.checks[0].passed, row.checks[0].picture], ['boot', false, true])
    assert.equal((await house.picture(HOST, id))!.toString('latin1', 1, 4), 'PNG')
  })
})
