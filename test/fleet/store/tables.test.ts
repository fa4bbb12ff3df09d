import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { before, test } from 'node:test'
import type { AgentArchive } from '../../../src/fleet/messages/events.ts'
import type { Inventory } from '../../../src/fleet/messages/inventory.ts'
import { readArchives, removeArchives, writeArchives } from '../../../src/fleet/store/archives.ts'
import { readCentralJobs, removeCentralJob, writeCentralJob } from '../../../src/fleet/store/central-jobs.ts'
import { readGuests, removeGuests, writeGuests } from '../../../src/fleet/store/guests.ts'
import { readRuns } from '../../../src/fleet/store/history.ts'
import {
  readHosts,
  readInventories,
  removeHost,
  writeHost,
  writeInventory,
  writeSeen,
} from '../../../src/fleet/store/hosts.ts'
import { migrate } from '../../../src/fleet/store/migrate.ts'
import { readSessions, writeSessions } from '../../../src/fleet/store/sessions.ts'
import { isToken, makeToken, partsOf, readTokens, revokeToken, writeUsed } from '../../../src/fleet/store/tokens.ts'
import { Turn } from '../../../src/fleet/store/turn.ts'
import { NEWEST, VERSIONS } from '../../../src/fleet/store/versions.ts'
import {
  readLastDay,
  readOpenWorks,
  readWorks,
  removeOldWorks,
  type StoredWork,
  writeWorks,
} from '../../../src/fleet/store/works.ts'
import { onBoth } from './databases.ts'

/** What a hypervisor takes as a name: a quote, a backslash, a character 0, and a byte that is not UTF-8. */
const HOSTILE = `a'"; drop table vmapipe.works; -- \\0000 \0 \udce4 <img src=x> ü`
const now = new Date('2026-03-01T01:30:00.000Z')

onBoth('the tables', (db) => {
  before(async () => {
    // As a database that was made by the first version, with something in it, and then by all that came since.
    await migrate(db(), () => {}, VERSIONS.slice(0, 1))
    await writeHost(db(), host('old'))
    await writeWorks(db(), [work({ host: 'old', state: 'done' })])
    await migrate(db(), () => {})
  })

  test('a database of version 1 comes to the newest with all that was in it', async () => {
    const versions = await db().query<{ version: number }>('select version from vmapipe.versions order by version')
    assert.deepEqual(
      versions.map(({ version }) => version),
      VERSIONS.map(({ version }) => version),
    )
    assert.deepEqual(
      (await readHosts(db())).map(({ host }) => host),
      ['old'],
    )
    // Again, and nothing is done twice.
    await migrate(db(), () => assert.fail('nothing was to be migrated'))
  })

  test('counts works by the hour in which they were first written', async () => {
    // Of one that was there before the tables tell it, nobody knows when that was.
    assert.deepEqual(await readLastDay(db()), [])
    const old = work({ host: 'hx' })
    await writeWorks(db(), [old, work({ host: 'hx' }), work({ host: 'hx', asked: { now: true } })])
    await db().query(`update vmapipe.works set written = now() - interval '150 minutes' where id = $1`, [old.id])
    await writeWorks(db(), [{ ...old, state: 'done' }])
    assert.deepEqual(await readLastDay(db()), [
      { host: 'hx', hoursAgo: 2, count: 1 },
      { host: 'hx', hoursAgo: 0, count: 1 },
    ])
    await db().query(`delete from vmapipe.works where host in ('hx', 'old')`)
  })

  test('a migration that fails leaves the tables as they were', async () => {
    const broken = [
      ...VERSIONS,
      { version: NEWEST + 1, oldest: 1, sql: 'create table vmapipe.half (x int); select nonsense' },
    ]
    await assert.rejects(migrate(db(), () => {}, broken))
    assert.equal((await db().query(`select 1 from pg_tables where tablename = 'half'`)).length, 0)
    await migrate(db(), () => {}, VERSIONS)
  })

  test('newer tables that say that they are compatible are used, others are refused in one line', async () => {
    await db().query('insert into vmapipe.versions (version, oldest) values ($1, $2)', [NEWEST + 1, NEWEST])
    await migrate(db(), () => {})
    await db().query('update vmapipe.versions set oldest = $1 where version = $1', [NEWEST + 1])
    await assert.rejects(
      migrate(db(), () => {}),
      { code: 'CONFIG', message: /version \d+, and this vmapipe knows/ },
    )
    await db().query('delete from vmapipe.versions where version > $1', [NEWEST])
  })

  test('several statements give the rows of all of them', async () => {
    assert.deepEqual((await db().executeSql('select 1 as a; select 2 as a')).rows, [{ a: 1 }, { a: 2 }])
    await assert.rejects(db().executeSql('begin; select 1/0'))
    assert.deepEqual((await db().executeSql('select $1::int as a', [3])).rows, [{ a: 3 }])
  })

  test('sessions of the page are kept as they are, and forgotten when they have expired', async () => {
    const at = (hours: number) => now.getTime() + hours * 3600_000
    const one = (hash: string, hours: number, user = HOSTILE) => ({ hash, expires: at(hours), content: { user } })
    await writeSessions(db(), [one('a', 1), one('b', 2), one('c', 3)], [], now)
    assert.deepEqual(await readSessions(db(), now), [one('a', 1), one('b', 2), one('c', 3)])
    await writeSessions(db(), [one('a', 4, 'ann')], ['b', 'none'], now)
    assert.deepEqual(await readSessions(db(), now), [one('c', 3), one('a', 4, 'ann')])
    assert.deepEqual(await readSessions(db(), new Date(at(3))), [one('a', 4, 'ann')])
    await writeSessions(db(), [], [], new Date(at(3)))
    assert.deepEqual(await readSessions(db(), now), [one('a', 4, 'ann')])
    await writeSessions(db(), [], ['a'], now)
    assert.deepEqual(await readSessions(db(), now), [])
  })

  test('a transaction that fails leaves nothing', async () => {
    await assert.rejects(
      db().transaction(async (session) => {
        await writeHost(session, host('half'))
        throw new Error('no')
      }),
      /no/,
    )
    assert.ok(!(await readHosts(db())).some(({ host }) => host === 'half'))
  })

  test('hosts and their inventories', async () => {
    await writeHost(db(), host('h1'))
    await writeHost(db(), { ...host('h1'), drained: true, labels: ['a', 'zone=b'] })
    await writeSeen(db(), [{ host: 'h1', seen: new Date(5000) }])
    const [there] = (await readHosts(db())).filter(({ host }) => host === 'h1')
    assert.deepEqual(there, { ...host('h1'), drained: true, labels: ['a', 'zone=b'], seen: new Date(5000) })
    const inventory = { at: now.toISOString(), guests: [], jobs: [], warnings: [HOSTILE] } satisfies Inventory
    await writeInventory(db(), 'h1', inventory)
    await writeInventory(db(), 'h1', inventory)
    assert.deepEqual(await readInventories(db()), [{ host: 'h1', content: inventory }])
    await removeHost(db(), 'h1')
    assert.deepEqual(await readInventories(db()), [])
  })

  test('guests with names of any kind', async () => {
    await writeGuests(db(), [{ guest: HOSTILE, host: 'h1', identity: 'x', lastGood: null }])
    await writeGuests(db(), [{ guest: HOSTILE, host: 'h2', identity: HOSTILE, lastGood: now }])
    assert.deepEqual(await readGuests(db()), [{ guest: HOSTILE, host: 'h2', identity: HOSTILE, lastGood: now }])
    await removeGuests(db(), [HOSTILE])
    assert.deepEqual(await readGuests(db()), [])
  })

  test('works: open ones, history by guest, and what is too old goes', async () => {
    const open = work({ guest: HOSTILE, report: null })
    const old = work({
      state: 'done',
      ended: now,
      report: { guest: HOSTILE, reason: 'x' },
      reason: HOSTILE,
      guest: HOSTILE,
    })
    await writeWorks(db(), [open, old])
    assert.deepEqual(await readOpenWorks(db()), [open])
    const both = await readWorks(db(), { guest: HOSTILE, most: 10 })
    assert.deepEqual(new Set(both), new Set([open, old]))
    assert.equal((await readWorks(db(), { guest: HOSTILE, most: 1 })).length, 1)
    assert.deepEqual(await readWorks(db(), { since: '2026-03-01T01:30:01Z', most: 5 }), [])
    assert.equal(await removeOldWorks(db(), new Date(now.getTime() + 1)), 1)
    assert.deepEqual(await readWorks(db(), { most: 10 }), [open])
    await writeWorks(db(), [{ ...open, state: 'canceled' }])
    assert.deepEqual(await readOpenWorks(db()), [])
  })

  test('the backups of a run are summed up; a host that tells nonsense of its bytes breaks no sum', async () => {
    const due = new Date(now.getTime() + 86_400_000)
    const told = [5, 7.5, 'many', null, -3, 1.7e308, 1.7e308, { a: 1 }]
    const ended = told.map((stored, n) =>
      work({ ...{ due, began: due, ended: due, job: 'summed', guest: `g${n}`, state: 'done' }, report: { stored } }),
    )
    await writeWorks(db(), [...ended, { ...ended[0], id: 'failed', state: 'failed', report: null }])
    const [{ done, failed, stored }] = await readRuns(db(), due, [])
    assert.deepEqual([done, failed], [8, 1])
    assert.equal(stored, 2e18 + 12.5)
    assert.equal((await readRuns(db(), due, [...ended.map(({ id }) => id)]))[0].stored, 0)
  })

  test('archives of a guest at a place are replaced as a whole', async () => {
    const said = (archives: AgentArchive[]) =>
      ({
        id: '1',
        event: 'archives',
        at: now.toISOString(),
        job: 'nightly',
        place: '/b',
        guest: HOSTILE,
        archives,
      }) as const
    await writeArchives(db(), 'h1', said([archive('1'), archive('2')]))
    await writeArchives(db(), 'h1', said([archive('2')]))
    assert.deepEqual(await readArchives(db(), { guest: HOSTILE }), [{ ...archive('2'), host: 'h1', job: 'nightly' }])
    assert.deepEqual(await readArchives(db(), { host: 'h2' }), [])
    await writeArchives(db(), 'h1', said([]))
    assert.deepEqual(await readArchives(db(), {}), [])
    await removeArchives(db())
  })

  test('central jobs are kept as they were written', async () => {
    const job = { name: 'nightly', text: `a: 1 # ${HOSTILE}\n`, digest: 'x', labels: ['rack-1'] }
    await writeCentralJob(db(), job)
    assert.deepEqual(await readCentralJobs(db()), [job])
    await removeCentralJob(db(), 'nightly')
    assert.deepEqual(await readCentralJobs(db()), [])
  })

  test('of a token only a hash is kept; another secret, or a revoked one, is not taken', async () => {
    const { id, text } = await makeToken(db(), { name: 'h1', kind: 'agent', guests: ['web*'] }, now)
    const { secret } = partsOf(text)
    assert.equal(partsOf(text).id, id)
    assert.equal(Buffer.from(secret, 'base64url').length, 32)
    const dump = JSON.stringify(await db().query('select * from vmapipe.tokens'))
    assert.ok(!dump.includes(secret))
    const [token] = await readTokens(db())
    assert.deepEqual(token.guests, ['web*'])
    assert.ok(isToken(token, secret))
    assert.ok(!isToken(token, `${secret.slice(1)}A`))
    assert.ok(!isToken(undefined, secret))
    await writeUsed(db(), [{ id, used: now.toISOString() }])
    assert.ok(await revokeToken(db(), id, now))
    assert.ok(!(await revokeToken(db(), 'other', now)))
    const [{ used, revoked }] = await readTokens(db())
    assert.deepEqual([used, revoked], [now.toISOString(), now.toISOString()])
  })

  test('a planner whose turn is over writes nothing', async () => {
    const first = new Turn(db())
    const second = new Turn(db())
    await first.take()
    await first.transaction((session) => writeHost(session, host('first')))
    assert.equal(await second.take(), true)
    await assert.rejects(
      first.transaction((session) => writeHost(session, host('late'))),
      { code: 'FAILED', message: /another planner has taken over/ },
    )
    assert.ok(!(await readHosts(db())).some(({ host }) => host === 'late'))
    assert.equal(await first.take(), true)
    assert.equal(await first.take(), false)
  })
})

function host(name: string) {
  return { host: name, labels: [], zone: 'UTC', parallel: 2, version: '1', incarnation: 'i', drained: false, seen: now }
}

function work(parts: Partial<StoredWork>): StoredWork {
  return {
    id: randomUUID(),
    kind: 'run',
    host: 'h1',
    job: 'nightly',
    guest: 'web',
    due: now,
    state: 'waiting',
    attempt: 0,
    notBefore: null,
    began: null,
    ended: null,
    incarnation: null,
    reason: null,
    asked: { full: true },
    report: null,
    ...parts,
  }
}

function archive(uuid: string): AgentArchive {
  return {
    place: '/b',
    name: 'x.vma',
    guest: HOSTILE,
    uuid,
    ctime: 1,
    kind: 'full',
    parent: null,
    size: 1,
    encrypted: false,
    protected: false,
    notes: HOSTILE,
    checks: [],
  }
}
