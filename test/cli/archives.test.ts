import assert from 'node:assert/strict'
import { existsSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { suite, type TestContext, test } from 'node:test'
import { schemas } from '../../src/cli/archives-schema.ts'
import { makePlace, SmallGuest } from '../catalog/places.ts'
import { oneLine, vmapipe } from './cli.ts'

const timeout = 120_000
const night = (day: number) => Date.parse(`2026-11-${String(day).padStart(2, '0')}T23:30:00Z`) / 1000

/** A place with a chain of two archives of `web` and two full ones of `db`. */
async function makeArchives(t: TestContext) {
  const { place, disks } = makePlace(t)
  mkdirSync(join(place, 'web'))
  const [web, db] = [new SmallGuest(disks, 'web'), new SmallGuest(disks, 'db')]
  const at = (name: string) => join(place, name)
  await web.backup(at('web/full.vma'), { since: undefined, ctime: night(1) })
  await web.backup(at('web/night.vmi'), { since: at('web/full.vma'), ctime: night(2) })
  for (const day of [1, 2]) await db.backup(at(`db${day}.vma`), { since: undefined, ctime: night(day) })
  const run = (...args: string[]) => vmapipe(args, { env: { TZ: 'Europe/Berlin' } })
  return { place, at, run }
}

suite('archives on the command line', { timeout }, () => {
  test('are listed with times of the user, notes and marks; --guest picks, --json is what the schema says', async (t) => {
    const { place, at, run } = await makeArchives(t)
    assert.equal((await run('note', at('db1.vma'), 'before the upgrade')).code, 0)
    assert.equal((await run('note', at('db1.vma'))).stdout.toString(), 'before the upgrade\n')
    assert.equal((await run('protect', at('db1.vma'), at('db2.vma'))).code, 0)
    assert.equal((await run('protect', '--off', at('db2.vma'))).code, 0)
    const { stdout, stderr, code } = await run('archives', place)
    assert.deepEqual([stderr, code], ['', 0])
    const lines = stdout
      .toString()
      .split('\n')
      .map((line) => line.replace(/ +/g, ' ').replace(/[\d.]+ [KM]iB/, 'SIZE'))
    assert.deepEqual(lines, [
      'GUEST TIME KIND SIZE VERIFIED STATE NAME NOTES',
      'db 2026-11-02 00:30 full SIZE - protected db1.vma before the upgrade',
      'db 2026-11-03 00:30 full SIZE - - db2.vma',
      'web 2026-11-02 00:30 full SIZE - - full.vma',
      'web 2026-11-03 00:30 incremental 1 SIZE - - night.vmi',
      lines[5],
      '',
    ])
    assert.match(lines[5], /^4 archives, /)
    const json = JSON.parse((await run('archives', place, '--json', '--guest', 'web')).stdout.toString())
    schemas.archives.parse(json)
    assert.deepEqual(
      json.archives.map(({ name, depth, good, time }: Record<string, unknown>) => [name, depth, good, time]),
      [
        ['full.vma', 0, true, '2026-11-01T23:30:00.000Z'],
        ['night.vmi', 1, true, '2026-11-02T23:30:00.000Z'],
      ],
    )
    const schema = JSON.parse((await run('schema', 'archives')).stdout.toString())
    assert.ok(schema.properties.archives)
  })

  test('are pruned by rules, with a table of what stays and why', async (t) => {
    const { place, at, run } = await makeArchives(t)
    const dry = await run('prune', place, '--keep-weekly', '1', '--dry-run')
    assert.equal(dry.code, 0, dry.stderr)
    const lines = dry.stdout
      .toString()
      .split('\n')
      .map((line) => line.replace(/ +/g, ' '))
    assert.match(lines[1], /^db 2026-11-02 00:30 full .* goes no rule keeps it db1.vma$/)
    assert.match(lines[2], /^db 2026-11-03 00:30 full .* stays newest good archive, weekly 1 db2.vma$/)
    assert.match(lines[3], /stays parent of 'night.vmi' full.vma$/)
    assert.match(lines[5], /: 1 archive would be removed, /)
    assert.ok(existsSync(at('db1.vma')))
    const json = JSON.parse((await run('prune', place, '--keep-weekly', '1', '--json')).stdout.toString())
    schemas.prune.parse(json)
    assert.deepEqual(json.removed, [at('db1.vma')])
    assert.ok(!existsSync(at('db1.vma')))
  })

  test('of a job are pruned by the rules in its file', async (t) => {
    const { place, at, run } = await makeArchives(t)
    const job = at('../nightly.yaml')
    const keep = (rules: string) =>
      writeFileSync(
        job,
        `guests: [{ name: web, drives: { drive-scsi0: ${at('../disks/web.raw')} } }]\nto: [{ place: ${place}${rules} }]\n`,
      )
    keep(', keep: { within: 1y }')
    const all = await run('prune', job)
    assert.match(all.stdout.toString(), /0 archives removed/)
    keep(', keep: { last: 1 }')
    // By its name: the folder of a user's jobs.
    const folder = at('../config/vmapipe/jobs')
    mkdirSync(folder, { recursive: true })
    symlinkSync(job, join(folder, 'of-this-test.yaml'))
    const env = { XDG_CONFIG_HOME: at('../config') }
    const { code, stderr, stdout } = await vmapipe(['prune', 'of-this-test'], { env })
    assert.equal(code, 0, stderr)
    assert.match(stdout.toString(), /1 archive removed/)
    assert.ok(!existsSync(at('db1.vma')))
    assert.match(oneLine(await run('prune', job, '--keep-last', '1')), /the rules of a job are in its file/)
    keep('')
    assert.match(oneLine(await run('prune', job)), /no place of the job .* has `keep:`/)
  })

  test('are forgotten one at a time', async (t) => {
    const { at, run } = await makeArchives(t)
    const refused = await run('forget', at('web/full.vma'))
    assert.equal(refused.code, 1)
    assert.match(oneLine(refused), /is needed by night.vmi; --with-children removes them too/)
    const { stdout, code } = await run('forget', at('web/full.vma'), '--with-children')
    assert.equal(code, 0)
    assert.match(stdout.toString(), /^removed .*night.vmi, .*\nremoved .*full.vma, .*\n$/)
    assert.ok(!existsSync(at('web/full.vma')))
  })

  test('wrong uses are one line each', async (t) => {
    const { place, at, run } = await makeArchives(t)
    const cases: [string[], RegExp, number][] = [
      [['archives', 'exec:ls'], /is no place whose archives can be listed; name a folder/, 2],
      [['archives', at('missing')], /no such file or directory/, 1],
      [['archives', at('db1.vma')], /is not a folder/, 2],
      [['prune', 'no-such-job'], /there is no job 'no-such-job'/, 2],
      [['prune', place], /no rule says what is kept/, 2],
      [['prune', place, '--keep-last', '0'], /no rule keeps any archive/, 2],
      [['prune', place, '--keep-last', 'x'], /write a whole number/, 2],
      [['prune', place, '--keep-within', 'x'], /is no time span/, 2],
      [['protect', 'exec:cat'], /nothing can be kept beside/, 2],
      [['protect', at('missing.vma')], /there is no archive/, 1],
      [['note', at('db1.vma'), 'x', '--remove'], /give one of them/, 2],
      [['forget', at('missing.vma')], /there is no archive/, 1],
      [['forget', place], /is not the name of an archive/, 2],
    ]
    for (const [args, message, code] of cases) {
      const outcome = await run(...args)
      assert.match(oneLine(outcome), message, args.join(' '))
      assert.equal(outcome.code, code, args.join(' '))
    }
    assert.ok(existsSync(at('db1.vma')))
  })
})
