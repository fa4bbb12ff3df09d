import assert from 'node:assert/strict'
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { readCatalog } from '../../../src/catalog/catalog.ts'
import { Keyring } from '../../../src/codecs/age/keyring.ts'
import type { Guest } from '../../../src/jobs/guests/guest.ts'
import { closeNight } from '../../../src/jobs/run/close-run.ts'
import { askRun } from '../../../src/jobs/run/control.ts'
import { lookForDue } from '../../../src/jobs/run/due.ts'
import { JobState } from '../../../src/jobs/state/job-state.ts'
import { verify } from '../../../src/operations/verify.ts'
import { writeImage } from '../../support/image.ts'
import { entries, nightly } from './nightly.ts'

const due = Date.UTC(2026, 10, 29, 1, 30)
const NAME = 'web-2026-11-29T013000Z.vma.zst'
const limit = { timeout: 120_000 }

/** An age identity of the test, and what it opens. */
const IDENTITY = 'AGE-SECRET-KEY-1SXYVDQERMYDP5ZKG2K6YCENR7NFELWYQD72GHYY8FDPZLVLGFSDQRGU0XX'
const RECIPIENT = 'age1wun7d3s74gtd956333l05tfsvk3sarlnxavm58h23w4tadlyzf2qf7xxlt'
/** Of a plain archive (formats/vma/README.md). */
const HEADER_BYTES = 12_288

const removeArchive = (folder: string, name: string) => {
  for (const file of readdirSync(folder)) if (file.startsWith(name)) rmSync(join(folder, file))
}

const archivesIn = (folder: string) =>
  existsSync(folder) ? readdirSync(folder).filter((name) => /\.vm[ai](\.(zst|lz4|gz))?(\.age)?$/.test(name)) : []

describe('a run that was due at a time', () => {
  test('does nothing the second time: no backup, no hook, nothing pruned', limit, async (t) => {
    const night = nightly(t, ['web'])
    const log = join(night.dir, 'hooks')
    const hook = (name: string) => `${name}: "echo ${name} >> ${log}"`
    const job = night.job(
      `guests:\n${entries(night, ['web'])}to: { place: ${night.dir}/place, keep: { last: 1 } }\nhooks: { ${['start', 'before', 'after', 'end'].map(hook).join(', ')} }\n`,
    )
    const first = await night.run(job, { due }).run()
    assert.deepEqual([first.outcome, first.guests[0].already], ['all', undefined])
    assert.deepEqual(archivesIn(join(night.dir, 'place/web')), [NAME])
    const hooks = readFileSync(log, 'utf8')
    assert.equal(hooks, 'start\nbefore\nafter\nend\n')
    const [{ ctime, uuid }] = await readCatalog(join(night.dir, 'place/web'))
    assert.equal(ctime, due / 1000)

    const second = await night.run(job, { due }).run()
    assert.deepEqual(
      [second.outcome, second.guests[0].outcome, second.guests[0].already, second.guests[0].places],
      ['all', 'done', true, [join(night.dir, 'place/web', NAME)]],
    )
    assert.equal(readFileSync(log, 'utf8'), hooks)
    assert.equal((await readCatalog(join(night.dir, 'place/web')))[0].uuid, uuid)
    // One line of the history, which tells of the backup.
    const reports = await new JobState(join(night.dir, 'state'), 'nightly', assert.fail).reports(9)
    assert.deepEqual(
      [reports.length, reports[0].run, reports[0].guests[0].already],
      [1, '20261129T013000Z-due', undefined],
    )
  })

  test('finds the archive with any compression and encryption, full or incremental', limit, async (t) => {
    const night = nightly(t, ['web'])
    const text = `guests:\n${entries(night, ['web'])}to: ${night.dir}/place\n`
    await night.run(night.job(`${text}compress: none\n`), { due }).run()
    const folder = join(night.dir, 'place/web')
    assert.deepEqual(archivesIn(folder), ['web-2026-11-29T013000Z.vma'])
    const again = await night.run(night.job(`${text}full: weekly\n`), { due }).run()
    assert.equal(again.guests[0].already, true)
    // The next is incremental, and is found by a job that makes full ones.
    const later = due + 86_400_000
    await night.run(night.job(`${text}full: never\n`), { due: later }).run()
    assert.ok(archivesIn(folder).includes('web-2026-11-30T013000Z.vmi.zst'))
    assert.equal((await night.run(night.job(text), { due: later }).run()).guests[0].already, true)
  })

  test('copies the archive to the other required place, in the place of a second backup', limit, async (t) => {
    const night = nightly(t, ['web'])
    const job = night.job(
      `guests:\n${entries(night, ['web'])}to: [${night.dir}/place, ${night.dir}/other]\nfull: never\n`,
    )
    await night.run(job, { due: due - 86_400_000 }).run()
    await night.run(job, { due }).run()
    const [one, other] = [join(night.dir, 'place/web'), join(night.dir, 'other/web')]
    const name = 'web-2026-11-29T013000Z.vmi.zst'
    for (const file of readdirSync(other)) if (file.startsWith(name)) rmSync(join(other, file))
    const report = await night.run(job, { due }).run()
    assert.deepEqual([report.outcome, report.guests[0].already, report.guests[0].read], ['all', undefined, undefined])
    assert.deepEqual(readFileSync(join(other, name)), readFileSync(join(one, name)))
    assert.equal((await night.run(job, { due }).run()).guests[0].already, true)
  })

  test('tells a name that is taken by what is not its archive', limit, async (t) => {
    const night = nightly(t, ['web', 'db'])
    const job = night.job(`guests:\n${entries(night, ['web', 'db'])}to: ${night.dir}/place\nretry: { count: 0 }\n`)
    const folder = join(night.dir, 'place/web')
    mkdirSync(folder, { recursive: true })
    writeFileSync(join(folder, NAME), 'no archive')
    const unreadable = await night.run(job, { due, guests: ['web'] }).run()
    assert.equal(unreadable.outcome, 'none')
    assert.match(unreadable.guests[0].reason!, /the name of the archive is taken: .* cannot be read: /)
    // One of another guest.
    await night.run(job, { due, guests: ['db'] }).run()
    renameSync(join(night.dir, 'place/db/db-2026-11-29T013000Z.vma.zst'), join(folder, NAME))
    const foreign = await night.run(job, { due, guests: ['web'] }).run()
    assert.match(foreign.guests[0].reason!, /is of the guest 'db'/)
    assert.deepEqual(archivesIn(folder), [NAME])
  })

  test(
    'makes a new archive beside one that is known to be damaged, and finds that one the next time',
    limit,
    async (t) => {
      const night = nightly(t, ['web'])
      const job = night.job(`guests:\n${entries(night, ['web'])}to: ${night.dir}/place\n`)
      await night.run(job, { due }).run()
      const folder = join(night.dir, 'place/web')
      const check = { kind: 'verify', at: new Date().toISOString(), passed: false, detail: 'damaged' }
      writeFileSync(join(folder, `${NAME}.checks`), JSON.stringify({ version: 1, checks: [check] }))
      const second = await night.run(job, { due }).run()
      assert.deepEqual([second.outcome, second.guests[0].already], ['all', undefined])
      assert.deepEqual(archivesIn(folder), [NAME, 'web-2026-11-29T013001Z.vma.zst'])
      assert.equal((await night.run(job, { due }).run()).guests[0].already, true)
    },
  )

  for (const [name, more, to] of [
    ['plain', 'compress: none\n', ''],
    ['zstd', '', ''],
    ['lz4', 'compress: lz4\n', ''],
    ['gzip', 'compress: gzip\n', ''],
    ['encrypted', 'compress: zstd,frame=128KiB\n', `, recipients: [${RECIPIENT}]`],
  ] as const) {
    test(`makes a new archive beside one that was cut, whatever is left of it: ${name}`, {
      timeout: 300_000,
    }, async (t) => {
      const night = nightly(t, ['web'])
      const identity = to === '' ? '' : `identity: [${night.dir}/key]\n`
      writeFileSync(join(night.dir, 'key'), `${IDENTITY}\n`, { mode: 0o600 })
      const job = night.job(
        `guests:\n${entries(night, ['web'])}to: { place: ${night.dir}/place${to} }\nfull: never\n${more}${identity}retry: { count: 0 }\n`,
      )
      await night.run(job, { due: due - 86_400_000 }).run()
      // Of one that is encrypted even the header is lost if nothing but the cut chunk was read.
      const size = name === 'encrypted' ? 12 << 20 : 2 << 20
      writeImage(night.disk('web'), size, { noise: size - 200_000 })
      await night.run(job, { due }).run()
      const folder = join(night.dir, 'place/web')
      const [, archive] = archivesIn(folder).sort()
      const file = join(folder, archive)
      const whole = readFileSync(file)
      assert.equal((await night.run(job, { due }).run()).guests[0].already, true)
      // A compressed one that lacks only a part of its footer has all of its data.
      let number = 0
      const most = name === 'plain' || name === 'encrypted' ? whole.length - 1 : whole.length - 1500
      for (const left of [most, whole.length >> 1, HEADER_BYTES + 100]) {
        for (const other of archivesIn(folder)) if (other > archive) removeArchive(folder, other)
        writeFileSync(file, whole.subarray(0, left))
        // Written in the same second, it might be taken for the one before.
        utimesSync(file, ++number, number)
        const [again] = (await night.run(job, { due }).run()).guests
        if (again.outcome !== 'done') {
          // Not even its header is left, so nobody knows whose it is.
          assert.match(again.reason!, /the name of the archive is taken/)
          assert.ok(left < whole.length / 2, `${left}: ${again.reason}`)
          continue
        }
        assert.equal(again.already, undefined, `${left} of ${whole.length}`)
        assert.ok(again.warnings.some((text) => /web-2026-11-29T013000Z.* was cut/.test(text)))
        // Since the archive of the night before: what was cut is nobody's parent.
        assert.equal(again.kind, 'incremental')
        await verify({
          from: again.places[0],
          ...(identity && { keys: new Keyring({ identities: [`${night.dir}/key`] }) }),
        })
        assert.equal((await night.run(job, { due }).run()).guests[0].already, true)
      }
    })
  }

  test('is not shifted by a name, and an incremental archive without its parent does not count', limit, async (t) => {
    const night = nightly(t, ['web'])
    const job = night.job(`guests:\n${entries(night, ['web'])}to: ${night.dir}/place\nfull: never\n`)
    await night.run(job, { due: due - 86_400_000 }).run()
    await night.run(job, { due }).run()
    const folder = join(night.dir, 'place/web')
    for (const file of readdirSync(folder)) if (file.includes('11-28')) rmSync(join(folder, file))
    const report = await night.run(job, { due }).run()
    assert.deepEqual([report.outcome, report.guests[0].already, report.guests[0].kind], ['all', undefined, 'full'])
  })

  test('counts by its record if hosts of two zones give it other names', limit, async (t) => {
    const night = nightly(t, ['100'])
    const job = night.job(`guests:\n${entries(night, ['100'])}to: ${night.dir}/place\n`)
    await night.run(job, { due }).run()
    const folder = join(night.dir, 'place/100')
    const elsewhere = 'vzdump-qemu-100-2026_11_29-14_30_00.vma.zst'
    for (const file of readdirSync(folder))
      renameSync(join(folder, file), join(folder, file.replace('100-2026-11-29T013000Z.vma.zst', elsewhere)))
    const guest: Guest = { name: '100', source: { kind: 'proxmox', id: 100 }, entry: { proxmox: [100] } }
    const options = { due, keys: undefined, warn: assert.fail, signal: new AbortController().signal }
    const look = await lookForDue(job, guest, job.to, options)
    assert.equal(look.state === 'done' && look.found[0].archive.name, elsewhere)
    assert.deepEqual(await lookForDue(job, guest, job.to, { ...options, due: due + 3_600_000 }), {
      state: 'new',
      time: due + 3_600_000,
    })
  })

  test('an encrypted archive that nobody here can open counts by its name', limit, async (t) => {
    const night = nightly(t, ['web'])
    const recipient = 'age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p'
    const job = night.job(
      `guests:\n${entries(night, ['web'])}to: { place: ${night.dir}/place, recipients: [${recipient}] }\n`,
    )
    assert.equal((await night.run(job, { due }).run()).outcome, 'all')
    assert.deepEqual(archivesIn(join(night.dir, 'place/web')), [`${NAME}.age`])
    assert.equal((await night.run(job, { due }).run()).guests[0].already, true)
    truncateSync(join(night.dir, 'place/web', `${NAME}.age`), 0)
    assert.match((await night.run({ ...job, retry: { count: 0 } }, { due }).run()).guests[0].reason!, /is taken/)
  })
})

describe('parts of a night', () => {
  test('run side by side, have one status and one report, and the night is closed once', limit, async (t) => {
    const guests = ['web', 'db', 'mail']
    const night = nightly(t, guests)
    const log = join(night.dir, 'hooks')
    // None of them ends before all have begun.
    const go = join(night.dir, 'go')
    const hook = (name: string) =>
      `${name}: "echo ${name} >> ${log}; test ${name} != before || until [ -e ${go} ]; do sleep 0.05; done"`
    const job = night.job(
      `guests:\n${entries(night, guests)}to: ${night.dir}/place\nlimits: { parallel: 3 }\nmetrics: ${night.dir}/metrics\nhooks: { ${['start', 'before', 'end'].map(hook).join(', ')} }\n`,
    )
    const run = (guest: string) => night.run(job, { due, part: true, guests: [guest] })
    const running = Promise.all(guests.map((guest) => run(guest).run()))
    const runtime = join(night.dir, 'locks')
    let most = 0
    const isOver = running.then(() => true)
    while (!(await Promise.race([isOver, new Promise((resolve) => setTimeout(resolve, 20, false))]))) {
      const status = await askRun(runtime, 'nightly', { ask: 'status' }).catch(() => null)
      most = Math.max(most, status?.guests.length ?? 0)
      if (most === 3) writeFileSync(go, '')
    }
    const reports = await running
    assert.equal(most, 3, 'one socket tells of all parts')
    assert.deepEqual(
      reports.map((report) => report.guests.map(({ guest, outcome }) => [guest, outcome])),
      guests.map((guest) => [[guest, 'done']]),
    )
    const state = new JobState(join(night.dir, 'state'), 'nightly', assert.fail)
    const [whole, ...others] = await state.reports(9)
    assert.deepEqual(
      [whole.outcome, whole.guests.map(({ guest }) => guest).sort(), others],
      ['all', guests.toSorted(), []],
    )
    assert.deepEqual([...(await state.guests()).keys()].sort(), guests.toSorted())
    assert.equal(await state.status(), null)
    const hooks = readFileSync(log, 'utf8').trim().split('\n')
    assert.deepEqual([hooks[0], hooks.at(-1), hooks.filter((name) => name === 'before').length], ['start', 'end', 3])
    assert.equal(hooks.filter((name) => name === 'start').length, hooks.filter((name) => name === 'end').length)
    // A second delivery changes nothing of it.
    assert.equal((await run('web').run()).guests[0].already, true)
    assert.deepEqual(await state.reports(9), [whole])
    const { signal } = new AbortController()
    const closed = await closeNight(job, { state, due, next: null, tell: false, warn: assert.fail, signal })
    assert.equal(closed!.outcome, 'all')
    assert.ok(existsSync(join(night.dir, 'metrics/vmapipe_nightly.prom')))
  })

  test('wait for a run of the whole job, and a whole run is refused while they go on', limit, async (t) => {
    const night = nightly(t, ['web', 'db'])
    const job = night.job(
      `guests:\n${entries(night, ['web', 'db'])}to: ${night.dir}/place\nhooks: { before: "sleep 2" }\n`,
    )
    const whole = night.run(job, { guests: ['db'] }).run()
    while (!night.events.some(({ type }) => type === 'begin')) await new Promise((resolve) => setTimeout(resolve, 20))
    const part = night.run(job, { due, part: true, guests: ['web'] }).run()
    assert.equal((await whole).outcome, 'all')
    const runs = async () => (await askRun(join(night.dir, 'locks'), 'nightly', { ask: 'status' }))?.guests[0]?.guest
    while ((await runs().catch(() => null)) !== 'web') await new Promise((resolve) => setTimeout(resolve, 20))
    await assert.rejects(night.run(job).run(), { code: 'FAILED', message: /is running already/ })
    assert.equal((await part).outcome, 'all')
  })

  test('a failure is not forgotten in the report until the guest is backed up', limit, async (t) => {
    const night = nightly(t, ['web', 'db'])
    const job = night.job(
      `guests:\n${entries(night, ['web', 'db'])}to: ${night.dir}/place\nretry: { count: 0 }\nhooks: { before: "test $VMAPIPE_GUEST != web -o -e ${night.dir}/ok" }\n`,
    )
    const run = (guest: string) => night.run(job, { due, part: true, guests: [guest] }).run()
    const state = new JobState(join(night.dir, 'state'), 'nightly', assert.fail)
    assert.equal((await run('web')).outcome, 'none')
    await run('db')
    assert.equal((await state.reports(1))[0].outcome, 'some')
    writeFileSync(join(night.dir, 'ok'), '')
    assert.equal((await run('web')).outcome, 'all')
    const [report] = await state.reports(1)
    assert.deepEqual([report.outcome, report.guests.length], ['all', 2])
  })
})
