/**
 * Whatever happens to a backup at whatever moment: fio, the guest, sees no error, no request of it waits beyond the
 * bound, and afterwards the server is as it was before.
 */

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { after, before, describe, type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { verify } from '../../src/operations/verify.ts'
import { LAUNCHER } from '../cli/cli.ts'
import { lateness } from '../support/lateness.ts'
import { seed, seeded } from '../support/random.ts'
import { SSH_HOST, startSshd } from '../support/sshd.ts'
import { tmpDir } from '../support/tmp.ts'
import { lacking, needs } from '../support/tools.ts'
import { MiB, makeDisk, memoryDir } from './images.ts'
import { type FioFigures, type Running, start, startFio } from './programs.ts'
import { type Serving, serve } from './serving.ts'

const timeout = 400_000

const MAX_STALL = 1000
/** What may be added to a request that the backup has let go in time, besides what others take of the machine. */
const SLACK = 500

/** Longer than anything takes here: fio is stopped. */
const LONG = 30_000

const programs = needs('fio', 'curl')

describe(`the guest wins (seed ${seed})`, { ...programs, timeout: 600_000 }, () => {
  const random = seeded(seed)
  const between = (from: number, to: number) => Math.round(from + random() * (to - from))
  const hooks: (() => unknown)[] = []
  let dir: string
  let serving: Serving
  let idle: FioFigures
  /** After a first backup under load that came to its end. */
  let settled: { descriptors: number; resident: number }

  /** Writes of 4 KiB all over the disk, as fast as they go or at a pace at which most clusters are left for a while. */
  const fio = (t: Pick<TestContext, 'after'>, runtime: number, pace?: number) =>
    startFio(t, serving.uri('a'), {
      runtime,
      args: [
        ...['--rw=randwrite', '--bs=4k', '--iodepth=8', '--size=256M', '--randrepeat=0', '--fsync=500'],
        ...(pace === undefined ? [] : [`--rate_iops=${pace}`]),
      ],
    })

  const attach = (t: TestContext, to: string, ...flags: string[]) =>
    start(t, process.execPath, [LAUNCHER, 'backup', '--attach', serving.control, '--quiet', '-o', to, ...flags])

  const curl = (t: TestContext, ...flags: string[]) =>
    start(t, 'curl', ['--silent', '--unix-socket', serving.control, ...flags, 'http://guest/backup'])

  const begun = async () => {
    while ((await serving.status()).backup === null) await sleep(5)
  }

  /** Runs `backup`, which breaks, while fio writes; and looks at everything that was promised. */
  async function underLoad(t: TestContext, backup: () => Promise<unknown>): Promise<string> {
    const late = lateness()
    const load = fio(t, LONG, 2500)
    await sleep(between(300, 600))
    await backup()
    const { complete, error, status } = await serving.ended()
    await sleep(200)
    const { slowest } = await load.stop()
    t.diagnostic(`slowest write ${slowest.toFixed(0)} ms; ${error}`)
    assert.equal(complete, false)
    assert.ok(status.waiting.max <= MAX_STALL + late(), `the service itself let a write wait ${status.waiting.max} ms`)
    assert.equal(status.waiting.now, 0)
    assert.ok(slowest <= MAX_STALL + SLACK + late(), `a write of fio waited ${slowest} ms`)
    await asBefore(t)
    return error!
  }

  /** As fast as before (at least in one of many looks: others use the machine too), and nothing is left open. */
  async function asBefore(t: TestContext): Promise<void> {
    let best = 0
    for (let look = 0; look < 60 && best < idle.perSecond / 2; look++) {
      best = Math.max(best, (await fio(t, 500).done).perSecond)
    }
    assert.ok(best >= idle.perSecond / 2, `${best} writes a second, it was ${idle.perSecond} before`)
    for (let tries = 0; serving.descriptors > settled.descriptors && tries < 100; tries++) await sleep(20)
    assert.equal(serving.descriptors, settled.descriptors)
    t.diagnostic(`${Math.round(best)} of ${Math.round(idle.perSecond)} writes a second, ${serving.resident >> 20} MiB`)
  }

  before(async () => {
    const t = { after: (hook: () => unknown) => hooks.push(hook) }
    dir = tmpDir(t)
    const disk = join(memoryDir(t, 512 * MiB), 'disk')
    makeDisk(disk, 256 * MiB)
    serving = await serve(t, { a: disk }, ['--max-stall', `${MAX_STALL}ms`, '--buffer', '16MiB'])
    idle = await fio(t, 1500).done
    // A backup that nothing happens to, so that what is kept for the next one is there.
    const load = fio(t, 2000).done
    const whole = await serving.ask('GET', '/backup')
    await verify({ from: Readable.from(await whole.toArray()) })
    await load
    settled = { descriptors: serving.descriptors, resident: serving.resident }
  })

  after(async () => {
    for (const hook of hooks.reverse()) await hook()
  })

  test('when the reader is killed', { timeout }, async (t) => {
    const error = await underLoad(t, async () => {
      const { child } = curl(t, '--limit-rate', '40M')
      await begun()
      await sleep(between(0, 800))
      child.kill('SIGKILL')
    })
    assert.match(error, /the reader of the (archive|stream)/)
  })

  test('when `vmapipe backup --attach` is killed', { timeout }, async (t) => {
    const error = await underLoad(t, async () => {
      const { child } = attach(t, join(dir, 'killed.vma.zst'), '--bwlimit', '40MiB/s')
      await begun()
      await sleep(between(0, 800))
      child.kill('SIGKILL')
    })
    assert.match(error, /the reader of the (archive|stream)/)
  })

  test('when the reader is stopped', { timeout }, async (t) => {
    const error = await underLoad(t, async () => {
      const { child } = curl(t, '--limit-rate', '40M')
      await begun()
      await sleep(between(0, 300))
      child.kill('SIGSTOP')
    })
    assert.match(error, /a guest's write has waited \d+ ms for the archive, 1000 are allowed: the backup was given up/)
    assert.match(error, /\d+ of 4096 clusters were archived, \d+ of 16777216 bytes of the buffer were full/)
  })

  test('when the disk of the archive is full', { timeout }, async (t) => {
    const small = join(dir, 'small')
    mkdirSync(small)
    if (spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=20m', 'none', small]).status !== 0) {
      return lacking(t, 'needs the right to mount a tmpfs')
    }
    t.after(() => spawnSync('umount', ['--lazy', small]))
    await underLoad(t, () => assert.rejects(attach(t, join(small, 'vm.vma')).done, /no space left on device/))
  })

  test('when the command that takes the archive stops reading', { timeout }, async (t) => {
    const running: Running[] = []
    const error = await underLoad(t, async () => {
      running.push(attach(t, 'exec:head -c 30000000 >/dev/null; sleep 60'))
      await begun()
    })
    assert.match(error, /the backup was given up/)
    await assert.rejects(running[0].done, /ended with 1: .*has waited \d+ ms/s)
  })

  test('when ssh is cut', { ...needs('sshd', 'ssh', 'ssh-keygen'), timeout }, async (t) => {
    const sshd = await startSshd(t)
    await underLoad(t, async () => {
      const { done } = attach(t, `ssh://${SSH_HOST}/~/vm.vma`, '--bwlimit', '40MiB/s')
      await begun()
      await sleep(between(100, 800))
      // It may not be connected yet, or be just about to: then ssh says something first.
      const cutting = setInterval(() => sshd.cut(), 20)
      await assert.rejects(done, /ended with 1: (?:.*\n)*vmapipe: /).finally(() => clearInterval(cutting))
    })
  })

  test('when the control connection is dropped, again and again', { timeout }, async (t) => {
    const late = lateness()
    const load = fio(t, LONG, 2500)
    for (let round = 0; round < 8; round++) {
      const response = await serving.ask('GET', `/backup?bwlimit=${between(10, 100)}MiB/s`)
      response.on('error', () => {})
      if (random() < 0.7) response.resume()
      await sleep(between(0, 250))
      response.destroy()
      await serving.ended()
    }
    const { slowest } = await load.stop()
    assert.ok(slowest <= MAX_STALL + SLACK + late(), `a write of fio waited ${slowest} ms`)
    await asBefore(t)
  })

  test('when it is told to end the backup, again and again', { timeout }, async (t) => {
    const late = lateness()
    const load = fio(t, LONG, 2500)
    for (let round = 0; round < 8; round++) {
      const response = await serving.ask('GET', '/backup?bwlimit=30MiB/s')
      response.on('error', () => {}).resume()
      await sleep(between(0, 250))
      const { code } = await serving.json('DELETE', '/backup')
      assert.ok(code === 204 || code === 404)
      await serving.ended()
    }
    const { slowest } = await load.stop()
    assert.ok(slowest <= MAX_STALL + SLACK + late(), `a write of fio waited ${slowest} ms`)
    await asBefore(t)
  })

  test('and the server is no larger after all that, and gives a whole archive', { timeout }, async (t) => {
    const response = await serving.ask('GET', '/backup')
    await verify({ from: Readable.from(await response.toArray()) })
    const { resident } = serving
    t.diagnostic(`${settled.resident >> 20} MiB resident after the first backup, ${resident >> 20} MiB now`)
    assert.ok(resident < settled.resident + 48 * MiB && resident < 200 * MiB)
    assert.equal(await serving.stop(), 0)
  })
})
