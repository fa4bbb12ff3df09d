import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, test } from 'node:test'
import type { KeptSession, SessionStore } from '../../../src/fleet/fleet.ts'
import { SessionFile } from '../../../src/web/accounts/session-file.ts'
import { IDLE_MS } from '../../../src/web/server/sessions.ts'
import { type TestBrowser, type TestedWeb, testedWeb } from '../../support/web.ts'

const ALICE = { name: 'alice', password: 'correct horse battery' }

let folder: string
let file: SessionFile
let tested: TestedWeb

async function start(options: Parameters<typeof testedWeb>[0] = {}): Promise<void> {
  file = (await SessionFile.open(folder))!
  tested = await testedWeb({ folder, sessionStore: file, ...options })
}

async function stop(): Promise<void> {
  await tested.close()
  await tested.web.sessions.kept()
  await file.close()
}

/** Starts the server again, `while_` it was down. The browser comes with the cookie that it had. */
async function restart(while_: () => Promise<void> = async () => {}): Promise<void> {
  await stop()
  await while_()
  await start()
}

/** The same browser, at the port of the new server. */
function again(browser: TestBrowser): TestBrowser {
  const now = tested.browser()
  now.cookie = browser.cookie
  now.csrf = browser.csrf
  return now
}

async function signedIn(): Promise<TestBrowser> {
  const browser = tested.browser()
  assert.equal((await browser.signIn('/api/sign-in', ALICE)).status, 200)
  return browser
}

const statusOf = async (browser: TestBrowser) => (await browser.get('/api/now')).status

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'vmapipe-test-'))
  await start()
  await tested.accounts.add(ALICE.name, ALICE.password, 'operate')
})

afterEach(async () => {
  await stop()
  await rm(folder, { recursive: true })
})

describe('a restart of the server', () => {
  test('signs nobody out; a page that was open goes on with its token', async () => {
    const browser = await signedIn()
    const byLink = await tested.signedIn('look')
    await restart()
    const same = again(browser)
    assert.equal(await statusOf(same), 200)
    assert.deepEqual((await same.get('/api/session')).json.csrf, browser.csrf)
    assert.equal((await same.post('/api/act', { do: 'verify', host: 'north', archive: '0-0-13' })).status, 200)
    assert.equal((await again(byLink).get('/api/session')).json.role, 'look')
  })

  test('brings back no session that was ended, whose password was changed, or whose account is gone', async () => {
    const [out, ended, changed, own] = [await signedIn(), await signedIn(), await signedIn(), await signedIn()]
    await out.post('/api/sign-out', {})
    const administrator = await tested.signedIn('administer')
    const rows = (await ended.get('/api/sessions')).json
    await administrator.post('/api/sessions/end', { id: rows.find((row: { own: boolean }) => row.own).id })
    await restart()
    for (const browser of [out, ended]) assert.equal(await statusOf(again(browser)), 401)
    const here = again(own)
    assert.equal(await statusOf(again(changed)), 200)
    const next = { old: ALICE.password, new: 'another password' }
    assert.equal((await here.post('/api/password', next)).status, 200)
    await restart()
    assert.equal(await statusOf(again(changed)), 401)
    assert.equal(await statusOf(again(here)), 200, 'the one that changed it goes on')
    // By the command line, while nothing was served.
    await restart(() => tested.accounts.change('alice', { password: 'yet another password' }))
    assert.equal(await statusOf(again(here)), 401)
    await tested.accounts.change('alice', { password: ALICE.password })
    const removed = await signedIn()
    await restart(async () => {
      await tested.accounts.remove('alice')
      await tested.accounts.add(ALICE.name, ALICE.password, 'administer')
    })
    assert.equal(await statusOf(again(removed)), 401)
    assert.equal(await statusOf(again(administrator)), 200)
  })

  test('makes no session last longer', async () => {
    const browser = await signedIn()
    tested.clock.ahead += IDLE_MS / 2
    assert.equal(await statusOf(browser), 200)
    await stop()
    const ahead = tested.clock.ahead
    await start({ now: () => Date.now() + ahead + IDLE_MS - 60_000 })
    assert.equal(await statusOf(again(browser)), 200, 'the last request was kept')
    await stop()
    await start({ now: () => Date.now() + ahead + 3 * IDLE_MS })
    assert.equal(await statusOf(again(browser)), 401)
    await tested.web.sessions.kept()
    assert.doesNotMatch(await readFile(join(folder, 'sessions.json'), 'utf8'), /alice/)
  })
})

describe('what is kept of sessions', () => {
  test('is of no use to who has stolen it', async () => {
    const browser = await signedIn()
    const path = join(folder, 'sessions.json')
    assert.equal((await stat(path)).mode & 0o777, 0o600)
    const text = await readFile(path, 'utf8')
    const [{ hash, content }] = JSON.parse(text).sessions as KeptSession[]
    assert.equal(content.user, 'alice')
    for (const secret of [browser.cookie!, browser.csrf!]) assert.ok(!text.includes(secret))
    const words = [hash, ...Object.values(content).map(String)]
    const forms = words.flatMap((word) => [word, Buffer.from(word, 'hex').toString('base64url'), `${hash}${word}`])
    for (const form of forms.filter((word) => /^[\w.-]+$/.test(word))) {
      const thief = tested.browser()
      thief.cookie = form
      assert.equal(await statusOf(thief), 401, form)
      const forged = again(browser)
      forged.csrf = form
      assert.equal((await forged.post('/api/sign-out', {})).json.error.code, 'TOKEN', form)
    }
    // Nor is there anything of its password.
    assert.ok(
      !text.includes(JSON.parse(await readFile(join(folder, 'accounts.json'), 'utf8')).accounts.alice.password.salt),
    )
  })

  test('may be damaged: people sign in again, and a warning says so', async () => {
    const browser = await signedIn()
    await restart(() => writeFile(join(folder, 'sessions.json'), '{"version":1,"sessions":[{"hash":'))
    assert.match(tested.warnings.join(), /who has signed in before is not known: '.*sessions\.json' is damaged/)
    assert.equal(await statusOf(again(browser)), 401)
    const next = await signedIn()
    await restart()
    assert.equal(await statusOf(again(next)), 200)
    // A session that has not the shape of one is none.
    await restart(async () => {
      const kept = JSON.parse(await readFile(join(folder, 'sessions.json'), 'utf8'))
      for (const one of kept.sessions) one.content.role = 'root'
      await writeFile(join(folder, 'sessions.json'), JSON.stringify(kept))
    })
    assert.equal(await statusOf(again(next)), 401)
  })

  test('is of one process: what another has ended must not come back', async () => {
    assert.equal(await SessionFile.open(folder), null)
  })

  test('is written later if the store is away', async () => {
    const there = new Map<string, KeptSession>()
    let isAway = true
    const sessionStore: SessionStore = {
      read: async () => [...there.values()],
      async write(kept, gone) {
        if (isAway) throw new Error('the database is away')
        for (const one of kept) there.set(one.hash, one)
        for (const hash of gone) there.delete(hash)
      },
    }
    await stop()
    await start({ sessionStore })
    const [first, second] = [await signedIn(), await signedIn()]
    await second.post('/api/sign-out', {})
    assert.match(tested.warnings.join(), /who is signed in could not be kept for a restart: the database is away/)
    assert.equal(there.size, 0)
    isAway = false
    const third = await signedIn()
    assert.equal(there.size, 2)
    await stop()
    await start({ sessionStore })
    assert.deepEqual(await Promise.all([first, second, third].map((one) => statusOf(again(one)))), [200, 401, 200])
  })

  test('is read again if another planner had the database: what it has ended ends here, and what it has begun goes on', async () => {
    const there = new Map<string, KeptSession>()
    let isOurs = true
    let changed = () => {}
    const sessionStore: SessionStore = {
      onChange(listener) {
        changed = listener
      },
      read: async () => [...there.values()],
      async write(kept, gone) {
        if (!isOurs) throw new Error('another planner has taken over')
        for (const one of kept) there.set(one.hash, one)
        for (const hash of gone) there.delete(hash)
      },
    }
    await stop()
    await start({ sessionStore })
    const [stays, endedThere, endedHere, begunThere] = [
      await signedIn(),
      await signedIn(),
      await signedIn(),
      await signedIn(),
    ]
    const hashOf = (browser: TestBrowser) => createHash('sha256').update(browser.cookie!).digest('hex')
    const begun = there.get(hashOf(begunThere))!
    const cookie = endedHere.cookie
    await begunThere.post('/api/sign-out', {})
    begunThere.cookie = undefined
    isOurs = false
    await endedHere.post('/api/sign-out', {})
    endedHere.cookie = cookie
    there.delete(hashOf(endedThere))
    there.set(begun.hash, begun)
    isOurs = true
    changed()
    await tested.web.sessions.kept()
    const events = await Promise.all([stays, endedThere, endedHere].map(statusOf))
    assert.deepEqual(events, [200, 401, 401])
    assert.equal(
      tested.web.sessions.list().some(({ id }) => id === begun.content.id),
      true,
    )
    await tested.web.sessions.kept()
    assert.deepEqual([...there.keys()].sort(), [hashOf(stays), begun.hash].sort())
  })

  test('that is being written goes on if the store is read just then', async () => {
    const there = new Map<string, KeptSession>()
    let changed = () => {}
    const isWriting = Promise.withResolvers<void>()
    const gate = Promise.withResolvers<void>()
    const sessionStore: SessionStore = {
      onChange(listener) {
        changed = listener
      },
      read: async () => [...there.values()],
      async write(kept) {
        isWriting.resolve()
        await gate.promise
        for (const one of kept) there.set(one.hash, one)
      },
    }
    await stop()
    await start({ sessionStore })
    const signing = signedIn()
    await isWriting.promise
    changed()
    gate.resolve()
    const browser = await signing
    await tested.web.sessions.kept()
    assert.equal(await statusOf(browser), 200)
  })
})
