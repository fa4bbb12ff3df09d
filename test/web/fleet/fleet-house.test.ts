import assert from 'node:assert/strict'
import { beforeEach, describe, test } from 'node:test'
import type {
  EndedBackup,
  Fleet,
  FleetGuestRow,
  FleetTopic,
  JobRow,
  RunSummary,
  WorkRow,
} from '../../../src/fleet/fleet.ts'
import { guestFolder } from '../../../src/jobs/guests/guest.ts'
import { FleetHouse } from '../../../src/web/fleet/fleet-house.ts'
import type { FleetArchive } from '../../../src/web/fleet/rows.ts'
import { chainsOf } from '../../../src/web/page/views/archives/tree.ts'

const DAY = 86_400
const AT = Math.floor(Date.now() / 1000) - 30 * DAY

function work(fields: Partial<WorkRow>): WorkRow {
  return {
    ...{ id: 'w1', kind: 'run', host: 'a', job: 'nightly', guest: 'web', due: '2026-11-28T01:00:00.000Z' },
    ...{ state: 'running', attempt: 1, began: '2026-11-28T01:00:01.000Z', ended: null, reason: null },
    ...{ progress: null, report: null },
    ...fields,
  }
}

function archive(fields: Partial<FleetArchive>): FleetArchive {
  return {
    ...{ host: 'a', job: 'nightly', place: '/srv/backup/web/1.vma', name: '1.vma', guest: 'web', uuid: 'u1' },
    ...{ ctime: AT, kind: 'full', parent: null, size: 100, encrypted: false, protected: false, notes: null },
    checks: [],
    ...fields,
  }
}

const job: JobRow = {
  ...{ host: 'a', name: 'nightly', central: false, description: null, schedule: ['01:00'], next: [], window: null },
  places: [{ place: '/srv/backup', storage: null, parallel: null, keep: { last: 1 } }],
  ...{ guests: ['web'], promise: 100, problem: null },
}

const guest: FleetGuestRow = {
  ...{ host: 'a', name: '<img src=x onerror=alert(1)>', source: 'libvirt::web', identity: null, running: true },
  ...{ jobs: ['nightly'], lastGood: null, promise: 100, state: 'overdue', problem: null },
  ...{ size: 10, seconds: null, stored: null },
}

let works: WorkRow[]
let archives: FleetArchive[]
let runs: RunSummary[]
let backups: EndedBackup[]
let asked: unknown[][]
let house: FleetHouse
let begin: () => FleetHouse
let looks: number
let tell: (topics: ReadonlySet<FleetTopic>) => void

function note(name: string, result?: unknown) {
  return async (...args: unknown[]) => {
    asked.push([name, ...args])
    return result
  }
}

beforeEach(() => {
  asked = []
  works = []
  archives = []
  runs = []
  backups = []
  looks = 0
  const people = {
    open: async (most: number) => ({
      problems: ['the host b is gone'],
      allWaiting: works.filter(({ state }) => state === 'waiting').length,
      running: works.filter(({ state }) => state === 'running'),
      waiting: works.filter(({ state }) => state === 'waiting').slice(0, most),
    }),
    tasks: async () => works.filter(({ kind }) => kind !== 'run'),
    lastBackups: async () => (name: string) => (name === guest.name ? backups : []),
    runs: async () => runs,
    works: async (filter: { since?: string }) => works.filter(({ due }) => filter.since === undefined || due >= ''),
    hosts: async () => [{ host: 'a', zone: 'Europe/Berlin', parallel: 2, warnings: [] }],
    guests: async () => {
      looks++
      return [guest]
    },
    jobs: async () => [job],
    archives: async () => archives,
    ...{ start: note('start', ['w1']), verify: note('verify', 'v1'), prune: note('prune', 'p1') },
    ...{ cancel: note('cancel'), drain: note('drain'), rescan: note('rescan') },
    watch(changed: typeof tell) {
      tell = changed
      return () => {}
    },
  }
  begin = () => new FleetHouse(people as unknown as Fleet['people'], { name: 'fleet' })
  house = begin()
})

describe('the page of a fleet', () => {
  test('what runs, waits and was asked for', async () => {
    works = [
      work({ progress: { phase: 'backup', stats: 'none', latency: { before: 1, points: [[0, 2]] } } }),
      work({ id: 'w2', guest: 'db', state: 'waiting', attempt: 2, reason: "the storage 'nas' is full" }),
      work({ id: 'v1', kind: 'verify', state: 'done', ended: '2026-11-28T02:00:00.000Z' }),
    ]
    const { rows, tasks, problems } = await house.now()
    assert.deepEqual(
      rows.map(({ id, phase, reason }) => ({ id, phase, reason })),
      [
        { id: 'w1', phase: 'backup', reason: null },
        { id: 'w2', phase: 'retry', reason: "the storage 'nas' is full" },
      ],
    )
    assert.equal(rows[0].stats, null, 'what has not the shape of statistics is left out')
    assert.deepEqual(rows[0].latency, { before: 1, points: [[0, 2]] })
    assert.deepEqual(
      tasks.map(({ id, what, state }) => [id, what, state]),
      [['v1', 'verify', 'done']],
    )
    assert.deepEqual(problems, ['the host b is gone'])
  })

  test('backups that were due together are one run, with what each host reported', async () => {
    const ended = { ended: '2026-11-28T01:30:00.000Z' }
    works = [
      work({ ...ended, state: 'done', report: { stored: 5, seconds: 2, places: ['/x'], warnings: 'no list' } }),
      work({ ...ended, id: 'w2', guest: 'db', state: 'lost', reason: 'the host is gone' }),
    ]
    runs = [
      {
        ...{ host: 'a', job: 'nightly', due: '2026-11-28T01:00:00.000Z', done: 1, failed: 1, stored: 5 },
        ...{ started: '2026-11-28T01:00:01.000Z', ...ended },
      },
    ]
    const [run] = await house.runs({ since: '2026-11-01T00:00:00.000Z' })
    assert.deepEqual([run.outcome, run.done, run.failed], ['some', 1, 1])
    const report = await house.report('a', 'nightly', run.run)
    assert.deepEqual(
      report!.guests.map(({ guest, outcome, reason, warnings }) => [guest, outcome, reason, warnings]),
      [
        ['web', 'done', undefined, []],
        ['db', 'failed', 'the host is gone', []],
      ],
    )
    assert.equal(report!.warnings, undefined)
    works.push(work({ id: 'w9', guest: 'late', state: 'waiting' }))
    assert.deepEqual((await house.report('a', 'nightly', run.run))!.warnings, [
      'the run goes on: of 3 guests 1 are not done yet',
    ])
    assert.equal(await house.report('a', 'nightly', 'nightly@then'), null)
    const earlier = { due: '2026-11-27T01:00:00.000Z', started: '2026-11-27T01:00:00.000Z', failed: 0, stored: 7 }
    runs = [runs[0], { ...runs[0], ...earlier, ended: '2026-11-27T03:00:00.000Z' }]
    const since = '2026-11-01T00:00:00.000Z'
    assert.equal((await house.runs({ since, most: 1 }))[0], run)
    assert.deepEqual(
      (await house.runs({ since, until: run.started })).map(({ started }) => started),
      [earlier.started],
    )
    const none = { runs: 1, done: 1 }
    assert.deepEqual(await house.runDays({ since, zone: 'UTC' }), [
      { ...none, day: '2026-11-27', whole: 1, worst: 'all', failed: 0, longest: 7200, stored: 7 },
      { ...none, day: '2026-11-28', whole: 0, worst: 'some', failed: 1, longest: 1799, stored: 5 },
    ])
  })

  test('a guest has its name as it is, and the trend of its backups', async () => {
    backups = [{ at: '2026-11-28T01:30:00.000Z', stored: 5, seconds: 2, outcome: 'done' }]
    const before = await house.guests()
    const [row] = await house.guests()
    assert.equal(row, before[0], 'the same row, as nothing has changed')
    backups = [...backups, { ...backups[0], at: '2026-11-29T01:30:00.000Z' }]
    assert.equal((await house.guests())[0].trend.length, 2)
    assert.equal((await house.guest('a', guest.name))!.trend.length, 2)
    assert.equal(await house.guest('b', guest.name), null)
    assert.equal(row.guest, '<img src=x onerror=alert(1)>')
    assert.deepEqual(row.trend, [{ at: '2026-11-28T01:30:00.000Z', stored: 5, seconds: 2, outcome: 'done' }])
  })

  test('a prune removes what its plan showed, and nothing if that has changed', async () => {
    archives = [
      archive({}),
      archive({ place: '/srv/backup/web/2.vma', name: '2.vma', uuid: 'u2', ctime: AT + DAY }),
      archive({ place: '/srv/backup2/web/1.vma', uuid: 'u3' }),
    ]
    const plan = await house.prunePlan('a', 'nightly')
    assert.deepEqual(
      plan.rows.map(({ place, stays }) => [place, stays]),
      [
        ['/srv/backup/web/1.vma', false],
        ['/srv/backup/web/2.vma', true],
      ],
    )
    archives[0].protected = true
    const prune = { do: 'prune', host: 'a', job: 'nightly', token: plan.token } as const
    await assert.rejects(house.act(prune, 'eve'), { code: 'USAGE', message: /have changed/ })
    assert.deepEqual(asked, [])
    archives[0].protected = false
    assert.equal(await house.act(prune, 'eve'), 'p1')
    assert.deepEqual(asked, [['prune', { host: 'a', job: 'nightly' }]])
  })

  test('an archive that no key of its host opens is one, and not damaged; an older agent tells no difference', async () => {
    const sealed = { uuid: '', ctime: 0, encrypted: true, unreadable: 'no key opens it' }
    const written = '2026-11-28T01:30:07.000Z'
    archives = [archive({ ...sealed, locked: true, written }), archive({ ...sealed, name: '2.vma' })]
    const looks = (await house.archives({})).map(({ locked, unreadable, at }) => ({ locked, unreadable, at }))
    assert.deepEqual(looks, [
      { locked: true, unreadable: null, at: written },
      { locked: false, unreadable: 'no key opens it', at: null },
    ])
  })

  test('archives of a guest are one chain at the place of their job, whatever the guest is called', async () => {
    for (const guest of ['web', '<img src=x onerror=alert(1)>', 'long'.repeat(60)])
      for (const base of ['/srv/backup', 's3://bucket', 'ssh://host/backup']) {
        const at = (name: string) => ({ name, guest, place: `${base}/${guestFolder(guest)}/${name}` })
        archives = [
          archive({ ...at('1.vma'), uuid: 'u1' }),
          archive({ ...at('2.vmi'), uuid: 'u2', kind: 'incremental', parent: 'u1', ctime: AT + DAY }),
          archive({ ...at('3.vmi'), uuid: 'u3', kind: 'incremental', parent: 'u2', ctime: AT + 2 * DAY }),
        ]
        const rows = await house.archives({})
        assert.deepEqual([...new Set(rows.map(({ place }) => place))], [base])
        assert.deepEqual(
          chainsOf(rows).map(({ archive: { uuid }, orphan, last }) => [uuid, orphan, last]),
          [
            ['u1', false, false],
            ['u2', false, false],
            ['u3', false, true],
          ],
        )
      }
    archives = [archive({ guest: 'bucket', place: 's3://bucket/1.vma' }), archive({ guest: null })]
    assert.deepEqual((await house.archives({})).map(({ place }) => place).sort(), ['/srv/backup/web', 's3://bucket'])
  })

  test('an archive is asked for by its id alone, and verified where it is', async () => {
    archives = [archive({})]
    const [{ id }] = await house.archives({})
    assert.match(id, /^[\w-]{22}$/)
    assert.equal(await house.act({ do: 'boot', host: 'a', archive: id }, 'eve'), 'v1')
    assert.deepEqual(asked, [['verify', { host: 'a', job: 'nightly', archive: '/srv/backup/web/1.vma', boot: true }]])
    for (const wrong of ['/srv/backup/web/1.vma', '', 'x'.repeat(22)])
      await assert.rejects(house.act({ do: 'verify', host: 'a', archive: wrong }, 'eve'), { code: 'USAGE' })
  })

  test('what runs is told at once, and of the lists those that have changed, together', (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] })
    const told: string[] = []
    t.after(house.watch((what) => told.push(what)))
    tell(new Set(['now', 'archives']))
    tell(new Set(['now', 'guests', 'archives']))
    assert.deepEqual(told.splice(0), ['now', 'now'])
    t.mock.timers.tick(5000)
    assert.deepEqual(told.splice(0), ['archives', 'guests'])
    tell(new Set(['now']))
    t.mock.timers.tick(60_000)
    assert.deepEqual(told, ['now'], 'no list is told of that has not changed')
  })

  test('guests are looked at now and then although nobody asks, until the page is closed', async (t) => {
    t.mock.timers.enable({ apis: ['setInterval'] })
    const other = begin()
    t.mock.timers.tick(120_000)
    assert.equal(looks, 2)
    await other.close()
    t.mock.timers.tick(120_000)
    assert.equal(looks, 2)
  })

  test('data of guests does not go through the planner', async () => {
    archives = [archive({})]
    const [{ id }] = await house.archives({})
    const form = { host: 'a', archive: id, drives: {} }
    await assert.rejects(house.act({ do: 'restore', form }, 'eve'), /does not go through the planner/)
    await assert.rejects(house.download(), /does not go through the planner/)
    await assert.rejects(house.act({ do: 'protect', host: 'a', archive: id, on: false }, 'eve'), { code: 'USAGE' })
    assert.deepEqual(asked, [])
  })
})
