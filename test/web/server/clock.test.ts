import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { LINK_MS } from '../../../src/web/accounts/links.ts'
import { IDLE_MS, LONGEST_MS } from '../../../src/web/server/sessions.ts'
import { type TestedWeb, testedWeb } from '../../support/web.ts'

const YEAR = 365 * 86_400_000
const ALICE = { name: 'alice', password: 'correct horse battery' }

/** The clock of the host is a year ahead at first, as of a machine that has just started; then it is set right. */
async function withClockAhead(run: (tested: TestedWeb) => Promise<void>): Promise<void> {
  const tested = await testedWeb()
  try {
    await tested.accounts.add(ALICE.name, ALICE.password, 'operate')
    await run(tested)
  } finally {
    await tested.close()
  }
}

describe('a clock that was a year ahead, and is set right', () => {
  test('makes nobody wait for that year', () =>
    withClockAhead(async ({ browser: make, clock }) => {
      clock.ahead = YEAR
      const browser = make()
      for (let i = 0; i < 5; i++) await browser.post('/api/sign-in', { ...ALICE, password: `guess number ${i}` })
      clock.ahead = 0
      const blocked = await browser.post('/api/sign-in', ALICE)
      assert.equal(blocked.status, 429)
      assert.ok(Number(blocked.headers['retry-after']) <= 5)
      clock.ahead += 5000
      assert.equal((await browser.signIn('/api/sign-in', ALICE)).status, 200)
    }))

  test('leaves a session that has asked often as many requests as before', () =>
    withClockAhead(async ({ signedIn, clock }) => {
      clock.ahead = YEAR
      const browser = await signedIn('look')
      for (let status = 200; status !== 429; ) status = (await browser.get('/api/session')).status
      clock.ahead = 0
      await browser.get('/api/session')
      clock.ahead = 60_000
      assert.equal((await browser.get('/api/session')).status, 200)
    }))

  test('makes no session last longer', () =>
    withClockAhead(async ({ browser: make, clock }) => {
      clock.ahead = YEAR
      const browser = make()
      await browser.signIn('/api/sign-in', ALICE)
      clock.ahead = 0
      for (const step of [0, ...Array(Math.floor(LONGEST_MS / (IDLE_MS / 2))).fill(IDLE_MS / 2)]) {
        clock.ahead += step
        if (clock.ahead < LONGEST_MS) assert.equal((await browser.get('/api/now')).status, 200)
      }
      clock.ahead = LONGEST_MS
      assert.equal((await browser.get('/api/now')).status, 401)
      const idle = make()
      clock.ahead = YEAR
      await idle.signIn('/api/sign-in', ALICE)
      clock.ahead = 0
      assert.equal((await idle.get('/api/now')).status, 200)
      clock.ahead = IDLE_MS
      assert.equal((await idle.get('/api/now')).status, 401)
    }))

  test('leaves no link that is good for a year; some seconds are nothing', () =>
    withClockAhead(async ({ browser: make, clock, links }) => {
      clock.ahead = YEAR
      const far = await links.make('administer')
      clock.ahead = 0
      assert.equal((await make().signIn('/api/link', { token: far.token })).status, 401)
      clock.ahead = 10_000
      const near = await links.make('look')
      clock.ahead = 0
      assert.ok(near.expires - Date.now() > LINK_MS)
      assert.equal((await make().signIn('/api/link', { token: near.token })).status, 200)
    }))

  test('is in the audit log as it was told: new lines have the right time, and none is left out of a list', () =>
    withClockAhead(async ({ audit, clock }) => {
      const row = { who: 'alice', from: '192.0.2.1', what: 'start', outcome: 'done' } as const
      clock.ahead = YEAR
      for (let i = 0; i < 5; i++) await audit.add({ ...row, detail: `ahead ${i}` })
      clock.ahead = 0
      for (let i = 0; i < 5; i++) await audit.add({ ...row, detail: `right ${i}` })
      const [newest] = await audit.read({ most: 1 })
      assert.ok(Math.abs(Date.parse(newest.at) - Date.now()) < 60_000, newest.at)
      const shown: string[] = []
      for (let before: string | undefined; ; ) {
        const rows = await audit.read({ ...(before && { before }), most: 3 })
        if (rows.length === 0) break
        shown.push(...rows.map(({ detail }) => detail))
        before = rows.at(-1)!.at
      }
      const all = ['ahead', 'right'].flatMap((when) => Array.from({ length: 5 }, (_, i) => `${when} ${i}`))
      assert.deepEqual(shown, all.reverse())
      // A time that no line has is one, too.
      const until = new Date(Date.now() - 86_400_000).toISOString()
      assert.deepEqual(await audit.read({ before: until }), [])
    }))
})
