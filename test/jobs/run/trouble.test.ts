import assert from 'node:assert/strict'
import { chmodSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { readCatalog } from '../../../src/catalog/catalog.ts'
import { askRun } from '../../../src/jobs/run/control.ts'
import { Slots } from '../../../src/jobs/run/slots.ts'
import { restore } from '../../../src/operations/restore.ts'
import { LAUNCHER, startCli, vmapipe } from '../../cli/cli.ts'
import { serve } from '../../live/serving.ts'
import { processesWith, until } from '../../storage/archive/processes.ts'
import { writeImage } from '../../support/image.ts'
import { needs } from '../../support/tools.ts'
import { entries, type Nightly, nightly } from './nightly.ts'

const limits = { timeout: 180_000 }

/** The text of a job for guests of images, with more fields. */
function jobOf(night: Nightly, guests: readonly string[], more: string): string {
  return `guests:\n${entries(night, guests)}${more}`
}

describe('a place', () => {
  test('that is not there is one line, and nothing is backed up', limits, async (t) => {
    const night = nightly(t, ['a', 'b', 'c'])
    writeFileSync(join(night.dir, 'file'), '')
    const job = night.job(
      jobOf(night, ['a', 'b', 'c'], `to: ${night.dir}/file/place\nretry: { count: 1, delay: 0s }\n`),
    )
    const report = await night.run(job).run()
    assert.equal(report.outcome, 'none')
    assert.match(report.problem!, /^'.*\/file\/place' cannot be written, so nothing was backed up: /)
    assert.deepEqual(
      report.guests.map(({ outcome, attempts }) => [outcome, attempts]),
      [
        ['skipped', 0],
        ['skipped', 0],
        ['skipped', 0],
      ],
    )
  })

  test('that is not required and was away gets the whole chain when it is back', limits, async (t) => {
    const night = nightly(t, ['a'])
    const far = join(night.dir, 'far')
    writeFileSync(far, 'in the way')
    const more = `to:\n  - place: ${night.dir}/place\n  - { place: ${far}, required: false }\nfull: weekly\n`
    const job = night.job(jobOf(night, ['a'], more))
    const first = await night.run(job).run()
    assert.equal(first.outcome, 'all')
    assert.match(first.warnings![0], /far' cannot be written, and is left out/)
    rmSync(far)
    const second = await night.run(job).run()
    assert.deepEqual([second.outcome, second.guests[0].kind], ['all', 'incremental'])
    const names = async (place: string) => (await readCatalog(place)).map(({ name, uuid }) => `${name} ${uuid}`)
    assert.equal((await names(far)).length, 2)
    assert.deepEqual(await names(far), await names(join(night.dir, 'place')))
    // Now it takes part as any other.
    const third = await night.run(job).run()
    assert.equal(third.guests[0].places.length, 2)
    await restore({ from: third.guests[0].places[1], into: join(night.dir, 'back') })
    assert.deepEqual(readFileSync(join(night.dir, 'back', 'disk-drive-scsi0.raw')), readFileSync(night.disk('a')))
  })

  test('of two that are required, the archive is incremental only if both have the parent', limits, async (t) => {
    const night = nightly(t, ['a'])
    const job = night.job(jobOf(night, ['a'], `to: [${night.dir}/place, ${night.dir}/other]\nfull: weekly\n`))
    const first = await night.run(job).run()
    // Of two archives of one second none is the newer one.
    const ended = Math.floor(Date.now() / 1000)
    await until(() => Math.floor(Date.now() / 1000) > ended, 'the next second')
    rmSync(join(night.dir, 'other'), { recursive: true })
    const second = await night.run(job).run()
    assert.deepEqual([first.guests[0].kind, second.guests[0].kind], ['full', 'full'])
    assert.equal((await night.run(job).run()).guests[0].kind, 'incremental')
  })

  test('has archives for its own keys, and the archives of another place stay plain', {
    ...limits,
    ...needs('age-keygen'),
  }, async (t) => {
    const night = nightly(t, ['a'])
    const { execFileSync } = await import('node:child_process')
    const key = execFileSync('age-keygen', { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
    writeFileSync(join(night.dir, 'key.txt'), key, { mode: 0o600 })
    const recipient = /age1\w+/.exec(key)![0]
    const more = `to:\n  - ${night.dir}/place\n  - { place: ${night.dir}/sealed, recipients: [${recipient}] }\nfull: weekly\nidentity: [key.txt]\ncheck: { verify: after }\n`
    const job = night.job(jobOf(night, ['a'], more))
    await night.run(job).run()
    const { guests } = await night.run(job).run()
    assert.deepEqual([guests[0].kind, guests[0].verified, guests[0].warnings], ['incremental', true, []])
    assert.match(guests[0].places[0], /\.vmi\.zst$/)
    assert.match(guests[0].places[1], /sealed\/a\/.*\.vmi\.zst\.age$/)
  })
})

describe('a guest', () => {
  test('whose process dies hurts no other guest', limits, async (t) => {
    const night = nightly(t, ['a', 'b'])
    writeImage(night.disk('a'), 64 << 20, { noise: 48 << 20 })
    const slow = `guests:\n${entries(night, ['a'], '    rate: 1MiB\n')}${entries(night, ['b'])}`
    const job = night.job(`${slow}to: ${night.dir}/place\nretry: { count: 0 }\n`)
    let killed = false
    const run = night.run(job, {
      onEvent: (event) => {
        if (killed || event.type !== 'guest' || event.progress.guest !== 'a' || event.progress.snapshot === null) return
        killed = true
        for (const pid of processesWith('backup-worker'))
          if (parentOf(pid) === process.pid) process.kill(pid, 'SIGKILL')
      },
    })
    const { guests } = await run.run()
    const [a, b] = guests
    assert.deepEqual([a.outcome, a.reason], ['failed', 'the process of the backup has ended by SIGKILL'])
    // It may have been killed too, if it ran at that moment; then it has failed alike.
    assert.ok(['done', 'failed'].includes(b.outcome))
    assert.deepEqual(
      readdirSync(join(night.dir, 'place/a')).filter((name) => !name.startsWith('.')),
      [],
    )
  })

  test('that is not there any more is told as such, and not tried again', limits, async (t) => {
    const night = nightly(t)
    const job = night.job(
      `guests:\n  - qmp: ${night.dir}/gone.qmp\nto: ${night.dir}/place\nretry: { count: 3, delay: 1h }\n`,
    )
    const { guests } = await night.run(job).run()
    assert.deepEqual([guests[0].guest, guests[0].outcome, guests[0].attempts], ['gone', 'failed', 1])
    assert.match(guests[0].reason!, /^nobody listens at '.*gone\.qmp' any more/)
  })

  test('that another run backs up is waited for', limits, async (t) => {
    const night = nightly(t, ['a', 'b'])
    const job = night.job(jobOf(night, ['a', 'b'], `to: ${night.dir}/place\nretry: { count: 0 }\n`))
    mkdirSync(join(night.dir, 'locks'), { mode: 0o700 })
    const held = await new Slots(join(night.dir, 'locks')).take([{ name: 'guest:a', count: 1 }])
    assert.ok('release' in held)
    let bIsDone = false
    const report = await night
      .run(job, {
        onEvent: (event) => {
          if (event.type !== 'guest' || event.progress.phase !== 'done') return
          if (event.progress.guest === 'b') {
            bIsDone = true
            void held.release()
          } else assert.ok(bIsDone)
        },
      })
      .run()
    assert.equal(report.outcome, 'all')
  })

  test(
    'is told to hooks by their environment alone, and is not backed up if the one before it fails',
    limits,
    async (t) => {
      const names = ['$(touch pwned); \'"', 'b']
      const night = nightly(t)
      const guests = names
        .map((name, index) => {
          writeImage(join(night.dir, `${index}.raw`), 1 << 20, { noise: 1000 })
          return `  - name: ${JSON.stringify(name)}\n    drives: { drive-scsi0: ${night.dir}/${index}.raw }\n`
        })
        .join('')
      const log = join(night.dir, 'log')
      const hooks = `hooks:\n  before: 'printf "%s|%s\\n" "$VMAPIPE_PHASE" "$VMAPIPE_GUEST" >> ${log}; test "$VMAPIPE_GUEST" != b'\n  after: [sh, -c, 'printf "%s|%s|%s\\n" "$VMAPIPE_PHASE" "$VMAPIPE_GUEST" "$VMAPIPE_KIND" >> ${log}']\n  failed: 'echo "$VMAPIPE_PHASE|$VMAPIPE_REASON" >> ${log}'\n`
      const job = night.job(
        `guests:\n${guests}to: ${night.dir}/place\nlimits: { parallel: 1 }\nretry: { count: 0 }\n${hooks}`,
      )
      const report = await night.run(job).run()
      assert.equal(report.outcome, 'some')
      assert.deepEqual(readFileSync(log, 'utf8').trim().split('\n'), [
        `before|${names[0]}`,
        `after|${names[0]}|full`,
        'before|b',
        'failed|the command hooks.before failed: it has ended with exit code 1',
      ])
      assert.deepEqual(readdirSync(join(night.dir, 'place')), ['=24=28touch=20pwned=29=3B=20=27=22'])
    },
  )
})

describe('a run', () => {
  test('loses only its memory of it if the state cannot be written', limits, async (t) => {
    const night = nightly(t, ['a'])
    writeFileSync(join(night.dir, 'state'), 'a file in the way')
    const job = night.job(jobOf(night, ['a'], `to: ${night.dir}/place\n`))
    const report = await night.run(job).run()
    assert.equal(report.outcome, 'all')
    assert.ok(
      night.events.some((event) => event.type === 'note' && /the state of the job is not kept/.test(event.text)),
    )
  })

  test('is the only one of its job', limits, async (t) => {
    const night = nightly(t, ['a'])
    const job = night.job(jobOf(night, ['a'], `to: ${night.dir}/place\nhooks: { start: 'sleep 30' }\n`))
    const first = night.run(job)
    const ended = first.run()
    await until(
      () => first.status.doing === 'looking at the places' || first.status.guests.length > 0,
      'the first run has begun',
    )
    await assert.rejects(night.run(job).run(), { code: 'FAILED', message: "the job 'nightly' is running already" })
    first.cancel('enough')
    const report = await ended
    assert.deepEqual(
      [report.outcome, report.guests[0].outcome, report.guests[0].reason],
      ['none', 'canceled', 'enough'],
    )
  })

  test(
    'that is canceled frees its guests within two seconds, and that is killed too; the next one goes on',
    limits,
    async (t) => {
      const night = nightly(t)
      writeImage(night.disk('web'), 96 << 20, { noise: 64 << 20 })
      const serving = await serve(t, { 'drive-scsi0': night.disk('web') })
      const file = join(night.dir, 'nightly.yaml')
      const text = `guests:\n  - { attach: ${serving.control}, name: web }\nto: ${night.dir}/place\nrate: 2MiB\nretry: { count: 0 }\n`
      writeFileSync(file, text, { mode: 0o600 })
      chmodSync(file, 0o600)
      const env = { VMAPIPE_STATE: join(night.dir, 'state'), VMAPIPE_RUNTIME: join(night.dir, 'locks') }
      const running = async () => (await serving.status()).backup !== null
      const begun = async () => {
        while (!(await running())) await sleep(20)
      }

      const first = startCli(['job', 'run', file], { env })
      await begun()
      const status = await askRun(env.VMAPIPE_RUNTIME, 'nightly', { ask: 'status' })
      assert.deepEqual(
        status!.guests.map(({ guest, phase }) => [guest, phase]),
        [['web', 'backup']],
      )
      const limited = await vmapipe(['job', 'limit', file, '3MiB'], { env })
      assert.match(limited.stdout.toString(), /is limited to 3MiB/)
      const from = performance.now()
      const ended = new Promise<number | null>((resolve) => first.once('close', resolve))
      await askRun(env.VMAPIPE_RUNTIME, 'nightly', { ask: 'cancel' }, { untilEnd: true })
      const took = performance.now() - from
      assert.equal(await running(), false)
      assert.ok(took < 2000 * 5, `it took ${took} ms`)
      assert.equal(await ended, 130)

      const second = startCli(['job', 'run', file], { env })
      await begun()
      second.kill('SIGKILL')
      // The launcher may be a parent of the program.
      await until(
        () => processesWith('backup-worker').filter((pid) => isOf(night.dir, pid)).length === 0,
        'the process of the backup has ended',
      )
      while (await running()) await sleep(20)
      const told = await vmapipe(['job', 'status', file], { env })
      assert.match(told.stdout.toString(), /nightly: the run .* was killed/)
      assert.deepEqual(
        readdirSync(join(night.dir, 'place/web')).filter((name) => !name.startsWith('.')),
        [],
      )

      writeFileSync(file, text.replace('rate: 2MiB\n', ''))
      const third = await vmapipe(['job', 'run', file, '--json'], { env })
      assert.equal(third.code, 0, third.stderr)
      assert.equal(JSON.parse(third.stdout.toString()).guests[0].outcome, 'done')
      assert.ok(LAUNCHER)
    },
  )
})

/** Null for one that has ended: other tests have such processes too. */
function parentOf(pid: number): number | null {
  try {
    return Number(/\) \S (\d+) /.exec(readFileSync(`/proc/${pid}/stat`, 'utf8'))?.[1])
  } catch {
    return null
  }
}

/** Whether its state is in this folder. */
function isOf(dir: string, pid: number): boolean {
  try {
    return readFileSync(`/proc/${pid}/environ`, 'utf8').includes(`VMAPIPE_STATE=${dir}/`)
  } catch {
    return false
  }
}
