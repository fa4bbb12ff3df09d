/** Who is signed in to the page, when one of two planners takes over the PostgreSQL of the other. */

import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import type { Fleet } from '../../../src/fleet/fleet.ts'
import { cutOff } from '../../fleet/service/cut-off.ts'
import { open, until } from '../../fleet/service/opened.ts'
import { type Cluster, needsPostgres, startPostgres } from '../../support/postgres.ts'
import { tmpDir } from '../../support/tmp.ts'
import { type TestBrowser, type TestedWeb, testedWeb } from '../../support/web.ts'

const ALICE = { name: 'alice', password: 'correct horse battery' }
const limit = { timeout: 180_000 }

describe('the page of two planners with one database', needsPostgres(), () => {
  let cluster: Cluster
  before(async () => {
    cluster = await startPostgres()
  })
  after(() => cluster?.stop())

  /** The page of a planner, with the accounts of this folder. */
  async function pageOf(t: { after(hook: () => Promise<void>): void }, fleet: Fleet, folder: string) {
    const page = await testedWeb({ folder, sessionStore: fleet.sessions })
    t.after(() => page.close())
    return page
  }

  async function firstPage(t: Parameters<typeof tmpDir>[0] & Parameters<typeof pageOf>[0], fleet: Fleet) {
    const folder = tmpDir(t)
    const page = await pageOf(t, fleet, folder)
    await page.accounts.add(ALICE.name, ALICE.password, 'operate')
    return { page, folder }
  }

  async function signedIn(page: TestedWeb): Promise<TestBrowser> {
    const browser = page.browser()
    assert.equal((await browser.signIn('/api/sign-in', ALICE)).status, 200)
    return browser
  }

  /** What the browser would get at this page. */
  async function statusAt(page: TestedWeb, { cookie }: Pick<TestBrowser, 'cookie'>): Promise<number> {
    const browser = page.browser()
    browser.cookie = cookie
    return (await browser.get('/api/now')).status
  }

  async function signOut(page: TestedWeb, { cookie, csrf }: Pick<TestBrowser, 'cookie' | 'csrf'>): Promise<void> {
    const browser = page.browser()
    browser.cookie = cookie
    browser.csrf = csrf
    await browser.post('/api/sign-out', {})
    assert.equal(await statusAt(page, { cookie }), 401)
  }

  test('stays signed in at the second when the first has ended, and out if that was done before', limit, async (t) => {
    const where = { database: await cluster.make('ends'), folder: '/' }
    await using first = await open(where)
    const { page, folder } = await firstPage(t, first)
    const [stays, leaves] = [await signedIn(page), await signedIn(page)]
    await signOut(page, leaves)
    await page.web.sessions.kept()
    const waiting = open(where)
    await first.close()
    await using second = await waiting
    const next = await pageOf(t, second, folder)
    assert.deepEqual([await statusAt(next, stays), await statusAt(next, leaves)], [200, 401])
  })

  test('is known at the first again, with what has happened at the second, after it was cut off', limit, async (t) => {
    const where = { database: await cluster.make('cut'), folder: '/' }
    await using first = await open(where)
    const { page, folder } = await firstPage(t, first)
    const [stays, endsHere, endsThere] = [await signedIn(page), await signedIn(page), await signedIn(page)]
    await page.web.sessions.kept()
    const waiting = open(where)
    await cutOff(cluster, 'cut')
    await using second = await waiting
    const there = await pageOf(t, second, folder)
    const status = () =>
      first.people.status().then(
        () => 'on duty',
        ({ message }) => String(message),
      )
    await until(async () => /another planner/.test(await status()))
    assert.deepEqual(
      await Promise.all([stays, endsHere, endsThere].map((one) => statusAt(there, one))),
      [200, 200, 200],
    )
    await signOut(there, endsThere)
    const begins = await signedIn(there)
    await there.web.sessions.kept()
    // It is not on duty, so it cannot write that.
    await signOut(page, endsHere)
    await page.web.sessions.kept()
    assert.equal(await statusAt(there, endsHere), 200)

    await second.close()
    await until(async () => (await status()) === 'on duty')
    await page.web.sessions.kept()
    const statuses = await Promise.all([stays, begins, endsThere, endsHere].map((one) => statusAt(page, one)))
    assert.deepEqual(statuses, [200, 200, 401, 401])
    // The database has no session that has ended.
    await page.web.sessions.kept()
    const kept = await cluster.program('psql', '-d', 'cut', '-tAc', 'select count(*) from vmapipe.page_sessions')
    assert.equal(kept.trim(), '2')
  })
})
