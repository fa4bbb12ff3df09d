import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { test } from 'node:test'
import { Cron } from 'croner'
import { cronToCalendar, toCron } from '../../../src/jobs/units/cron.ts'
import { needs } from '../../support/tools.ts'

const CASES: [cron: string, calendar: string[]][] = [
  ['30 1 * * 1-6', ['Mon,Tue,Wed,Thu,Fri,Sat *-*-* 01:30:00']],
  ['*/15 * * * *', ['*-*-* *:00,15,30,45:00']],
  ['0 22-23,0-5/2 * * *', ['*-*-* 00,02,04,22,23:00:00']],
  ['0 3 1,15 * *', ['*-*-01,15 03:00:00']],
  ['0 3 * jan-mar SUN', ['Sun *-01,02,03-* 03:00:00']],
  ['0 3 13 * 5', ['*-*-13 03:00:00', 'Fri *-*-* 03:00:00']],
  ['5 4 * * 7', ['Sun *-*-* 04:05:00']],
  ['10/20 4 * * 0-7', ['*-*-* 04:10,30,50:00']],
  ['@daily', ['*-*-* 00:00:00']],
  ['@weekly', ['Sun *-*-* 00:00:00']],
]

test('an expression of cron becomes events that systemd reads', needs('systemd-analyze'), () => {
  for (const [cron, calendar] of CASES) {
    assert.deepEqual(cronToCalendar(cron), calendar, cron)
    for (const one of calendar) assert.equal(spawnSync('systemd-analyze', ['calendar', one]).status, 0, one)
  }
})

test('what cron cannot say, or only some programs know, is refused', () => {
  for (const cron of [
    '61 1 * * *',
    '0 24 * * *',
    '0 0 L * *',
    '0 0 * * 5#2',
    '* * * *',
    '@reboot',
    '0 0 0 * *',
    '5-1 * * * *',
    '*/0 * * * *',
  ])
    assert.throws(() => cronToCalendar(cron), { code: 'CONFIG' }, cron)
})

test('events of systemd become lines of a crontab, if it can have them', () => {
  const cases = [
    ['Mon..Sat 01:30', '30 1 * * 1,2,3,4,5,6'],
    ['Sat..Mon 01:30', '30 1 * * 0,1,6'],
    ['Mon,Thu *-*-* 22:00:00', '0 22 * * 1,4'],
    ['*-*-01 03:05', '5 3 1 * *'],
    ['01:00', '0 1 * * *'],
    ['*:00,30', '0,30 * * * *'],
    ['weekly', '0 0 * * 1'],
    ['@weekly', '0 0 * * 0'],
    ['30 1 * * 1-6', '30 1 * * 1-6'],
  ]
  for (const [schedule, cron] of cases) assert.equal(toCron(schedule), cron, schedule)
  for (const schedule of ['Mon 2027-01-01 01:00', '*-*-* 01:30:30', 'Sat *-*-1..7 18:00', 'Foo 01:00', 'sometimes'])
    assert.throws(() => toCron(schedule), { code: 'CONFIG' }, schedule)
})

test('systemd and cron begin at the same times', needs('systemd-analyze'), () => {
  const base = new Date('2026-11-28T12:34:56Z')
  for (const [cron] of CASES.filter(([cron, { length }]) => length === 1 && !cron.startsWith('10/'))) {
    const ours = cronToCalendar(cron)[0]
    const args = ['calendar', '--iterations=5', `--base-time=@${base.getTime() / 1000}`, ours]
    const { stdout } = spawnSync('systemd-analyze', args, {
      encoding: 'utf8',
      env: { ...process.env, TZ: 'UTC', LC_ALL: 'C' },
    })
    const times = [...stdout.matchAll(/\w{3} (\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d) UTC/g)].map(
      ([, day, time]) => `${day}T${time}.000Z`,
    )
    const theirs = new Cron(cron, { paused: true, timezone: 'UTC' }).nextRuns(5, base).map((time) => time.toISOString())
    assert.deepEqual([...new Set(times)], theirs, cron)
  }
})
