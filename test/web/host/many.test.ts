import assert from 'node:assert/strict'
import { copyFileSync, linkSync, mkdirSync, readdirSync, utimesSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { Histories } from '../../../src/web/host/histories.ts'
import { HostState } from '../../../src/web/host/host-state.ts'
import { Kept } from '../../../src/web/host/kept.ts'
import { LAUNCHER } from '../../cli/cli.ts'
import { HOST, hosted } from './hosted.ts'

const timeout = 240_000

describe('ten thousand archives', () => {
  test('are listed once; answers read nothing, and one more archive is one more listing', { timeout }, async (t) => {
    const host = hosted(t)
    const made = join(host.dir, 'made.vma')
    const disk = host.disk('web', 64 << 10)
    const { code, stderr } = await host.cli('backup', '-d', `drive-scsi0=${disk}`, '--guest', 'g7', '-o', made)
    assert.equal(code, 0, stderr)
    // What has just changed is not noted in the index.
    utimesSync(made, new Date(Date.now() - 60_000), new Date(Date.now() - 60_000))
    for (let guest = 0; guest < 50; guest++) {
      mkdirSync(join(host.place, `g${guest}`))
      for (let n = 0; n < 200; n++) linkSync(made, join(host.place, `g${guest}`, `g${guest}-${n}.vma`))
    }
    host.job('nightly', { g7: disk })
    const state = new HostState({
      state: host.env.VMAPIPE_STATE,
      runtime: host.env.VMAPIPE_RUNTIME,
      jobsFolders: [join(host.dir, 'config/vmapipe/jobs')],
      name: HOST,
      start: [process.execPath, LAUNCHER],
    })
    t.after(() => state.close())
    await state.files.get()
    await state.listed.get()
    assert.equal(state.archives.rows().length, 10_000)
    assert.equal(state.archives.lists, 1)
    const before = process.cpuUsage()
    for (let n = 0; n < 50; n++) {
      await state.listed.get()
      assert.equal(state.archives.rows().length, 10_000)
      assert.equal(state.archives.rows('g7').length, 10_000)
      assert.ok(state.archives.lastGood('g7', { to: [{ place: host.place }] }).at > 0)
    }
    const { user, system } = process.cpuUsage(before)
    assert.ok(user + system < 50 * 50_000, `${(user + system) / 50_000} ms of processor for an answer`)
    // What is looked at again in the background finds nothing to list.
    for (let n = 0; n < 5; n++) await state.listed.fresh()
    assert.equal(state.archives.lists, 1)
    copyFileSync(made, join(host.place, 'g7', 'new.vma'))
    await state.listed.fresh()
    assert.equal(state.archives.lists, 2)
    assert.equal(state.archives.rows().length, 10_001)
  })
})

describe('reports', () => {
  test('are read once, whatever is asked; only one that changes is read again', async (t) => {
    const host = hosted(t)
    const folder = join(host.env.VMAPIPE_STATE, 'jobs/nightly/runs')
    const { JobState } = await import('../../../src/jobs/state/job-state.ts')
    const jobs = new JobState(host.env.VMAPIPE_STATE, 'nightly', () => {})
    const report = (run: string, outcome: 'done' | 'failed') => ({
      ...{ version: 1 as const, job: 'nightly', run, host: HOST, outcome: 'all' as const, removed: [], next: null },
      started: '2026-11-28T01:30:00.000Z',
      ended: '2026-11-28T02:30:00.000Z',
      guests: [{ guest: 'web', outcome, attempts: 1, places: [], warnings: [], stored: 5, seconds: 2 }],
    })
    for (let n = 0; n < 30; n++) await jobs.saveReport(report(`20261128T0130${String(n).padStart(2, '0')}Z-a`, 'done'))
    const histories = new Histories(host.env.VMAPIPE_STATE, HOST)
    assert.equal(await histories.look(), true)
    assert.equal(await histories.look(), false)
    assert.deepEqual([histories.reads, histories.runs('nightly').length, readdirSync(folder).length], [30, 30, 30])
    assert.equal(histories.trends().get('web')!.length, 14)
    // The part of a night that comes later.
    await jobs.saveReport(report('20261128T013029Z-a', 'failed'))
    assert.equal(await histories.look(), true)
    assert.equal(histories.reads, 31)
    assert.equal(histories.failures().get('web'), 'failed')
  })
})

describe('a value that is kept', () => {
  test('is waited for once; later answers take the last one while it is made again', async () => {
    const makes: ((value: number) => void)[] = []
    const kept = new Kept<number>({ make: () => new Promise((resolve) => makes.push(resolve)), age: 0 })
    const first = [kept.get(), kept.get()]
    makes[0](1)
    assert.deepEqual(await Promise.all(first), [1, 1])
    assert.equal(makes.length, 1)
    // The second is never made: whoever asks gets the first.
    assert.deepEqual(await Promise.all([kept.get(), kept.get(), kept.get()]), [1, 1, 1])
    assert.equal(makes.length, 2)
    makes[1](2)
    await new Promise((resolve) => setImmediate(resolve))
    assert.equal(kept.last, 2)
  })

  test('that cannot be made stays as it was', async () => {
    let fails = false
    const kept = new Kept<number>({
      make: async () => {
        if (fails) throw new Error('away')
        return 1
      },
      age: 0,
    })
    await kept.get()
    fails = true
    assert.equal(await kept.get(), 1)
    await assert.rejects(kept.fresh(), /away/)
    assert.equal(kept.last, 1)
  })
})
