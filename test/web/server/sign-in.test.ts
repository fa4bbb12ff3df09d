import assert from 'node:assert/strict'
import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { addressKey, Backoff, Buckets } from '../../../src/web/server/limits.ts'
import { IDLE_MS, LONGEST_MS } from '../../../src/web/server/sessions.ts'
import { type TestedWeb, testedWeb } from '../../support/web.ts'

const ALICE = { name: 'alice', password: 'correct horse battery' }

async function withAlice(use: (tested: TestedWeb) => Promise<void>): Promise<void> {
  const tested = await testedWeb()
  try {
    await tested.accounts.add(ALICE.name, ALICE.password, 'operate')
    await use(tested)
  } finally {
    await tested.close()
  }
}

describe('a session', () => {
  test('begins with an id that nobody had before, and ends the one that the browser came with', () =>
    withAlice(async ({ browser: make }) => {
      const browser = make()
      const planted = 'A'.repeat(43)
      browser.cookie = planted
      await browser.signIn('/api/sign-in', ALICE)
      const first = browser.cookie
      assert.ok(first !== undefined && first !== planted && Buffer.from(first, 'base64url').length === 32)
      await browser.signIn('/api/sign-in', ALICE)
      assert.notEqual(browser.cookie, first)
      assert.equal((await browser.get('/api/now')).status, 200)
      browser.cookie = first
      assert.equal((await browser.get('/api/now')).status, 401, 'the former one has ended')
      browser.cookie = planted
      assert.equal((await browser.get('/api/now')).status, 401, 'the planted one was never one')
    }))

  test('ends at sign-out, for good', () =>
    withAlice(async ({ browser: make }) => {
      const browser = make()
      await browser.signIn('/api/sign-in', ALICE)
      const { cookie } = browser
      const answer = await browser.post('/api/sign-out', {})
      assert.equal(answer.status, 200)
      assert.match(answer.headers['set-cookie']![0], /Max-Age=0/)
      assert.equal(browser.cookie, undefined)
      browser.cookie = cookie
      assert.equal((await browser.get('/api/now')).status, 401)
    }))

  test('ends when nobody uses it, and after some days although somebody does', () =>
    withAlice(async ({ browser: make, clock }) => {
      const idle = make()
      await idle.signIn('/api/sign-in', ALICE)
      clock.ahead += IDLE_MS - 60_000
      assert.equal((await idle.get('/api/now')).status, 200)
      clock.ahead += IDLE_MS + 1
      assert.equal((await idle.get('/api/now')).status, 401)
      const busy = make()
      await busy.signIn('/api/sign-in', ALICE)
      let used = 0
      for (; (await busy.get('/api/now')).status === 200; used++) clock.ahead += IDLE_MS - 60_000
      assert.ok(Math.abs(used * (IDLE_MS - 60_000) - LONGEST_MS) < IDLE_MS, `${used} times`)
    }))

  test('ends with the password and with the account, also by the command line; a role counts at once', () =>
    withAlice(async ({ browser: make, accounts, signedIn }) => {
      const [one, two] = [make(), make()]
      await one.signIn('/api/sign-in', ALICE)
      await two.signIn('/api/sign-in', ALICE)
      assert.equal((await one.post('/api/password', { old: 'wrong wrong wrong', new: 'another password' })).status, 403)
      assert.equal((await one.post('/api/password', { old: ALICE.password, new: 'short' })).status, 400)
      const changed = await one.post('/api/password', { old: ALICE.password, new: 'another password' })
      assert.equal(changed.status, 200)
      assert.equal((await two.get('/api/now')).status, 401, 'the others have ended')
      assert.equal((await one.get('/api/now')).status, 200, 'the one that changed it goes on')
      await accounts.change('alice', { role: 'look' })
      assert.equal((await one.get('/api/session')).json.role, 'look')
      assert.equal((await one.get('/api/files?host=north&archive=0-0-13')).status, 403)
      await accounts.change('alice', { password: 'yet another password' })
      assert.equal((await one.get('/api/now')).status, 401)
      await two.signIn('/api/sign-in', { name: 'alice', password: 'yet another password' })
      await accounts.remove('alice')
      assert.equal((await two.get('/api/now')).status, 401)
      const byLink = await signedIn('look')
      assert.equal((await byLink.post('/api/password', { old: 'x', new: 'another password' })).status, 400)
    }))

  test('is shown to its user, and to administrators, who can end it', () =>
    withAlice(async ({ browser: make, signedIn }) => {
      const alice = make()
      await alice.signIn('/api/sign-in', ALICE)
      const administrator = await signedIn('administer')
      const own = (await alice.get('/api/sessions')).json
      assert.deepEqual([own.length, own[0].user, own[0].own, own[0].from], [1, 'alice', true, '127.0.0.1'])
      const all = (await administrator.get('/api/sessions')).json
      assert.equal(all.length, 2)
      assert.ok(!JSON.stringify(all).includes(alice.cookie!) && !JSON.stringify(all).includes(alice.csrf!))
      const other = all.find(({ user }: { user: string }) => user !== 'alice').id
      assert.equal((await alice.post('/api/sessions/end', { id: other })).status, 404, 'not hers')
      assert.equal((await administrator.post('/api/sessions/end', { id: own[0].id })).status, 200)
      assert.equal((await alice.get('/api/now')).status, 401)
    }))
})

describe('a one-time link', () => {
  test('signs one browser in, once, within ten minutes', async () => {
    const tested = await testedWeb()
    try {
      const { token } = await tested.links.make('operate')
      const answers = await Promise.all(
        Array.from({ length: 8 }, () => tested.browser().signIn('/api/link', { token })),
      )
      assert.equal(answers.filter(({ status }) => status === 200).length, 1, 'of eight at once')
      assert.equal((await tested.browser().signIn('/api/link', { token })).status, 401)
      const late = await tested.links.make('operate')
      tested.clock.ahead += 10 * 60_000 + 1
      assert.equal((await tested.browser().signIn('/api/link', { token: late.token })).status, 401)
      for (const odd of ['../../accounts', '', 'x'.repeat(200)])
        assert.ok((await tested.browser().signIn('/api/link', { token: odd })).status >= 400)
    } finally {
      await tested.close()
    }
  })

  test('is made by an administrator for somebody else', async () => {
    const tested = await testedWeb({ base: () => 'https://backup.example' })
    try {
      const administrator = await tested.signedIn('administer')
      const { link } = (await administrator.post('/api/links', { role: 'look' })).json
      const [, token] = /^https:\/\/backup\.example\/#link=([\w-]{43})$/.exec(link)!
      const guest = tested.browser()
      assert.deepEqual([(await guest.signIn('/api/link', { token })).status, guest.session!.role], [200, 'look'])
    } finally {
      await tested.close()
    }
  })
})

describe('somebody who guesses', () => {
  test('has the same answer for a wrong name and a wrong password, and waits longer each time', () =>
    withAlice(async ({ browser: make, clock, audit }) => {
      const browser = make()
      const guess = (name: string, password: string) => browser.post('/api/sign-in', { name, password })
      const wrong = await guess('alice', 'not the password')
      const unknown = await guess('nobody', 'not the password')
      assert.deepEqual([wrong.status, wrong.text], [unknown.status, unknown.text])
      for (let i = 0; i < 4; i++) await guess('alice', `guess number ${i}`)
      const waits: number[] = []
      for (let i = 0; i < 6; i++) {
        const blocked = await guess('alice', ALICE.password)
        assert.equal(blocked.status, 429, 'even the right one')
        waits.push(Number(blocked.headers['retry-after']))
        clock.ahead += waits[i] * 1000
        assert.equal((await guess('alice', 'wrong again')).status, 401)
      }
      assert.deepEqual(
        waits.map((wait) => Math.round(wait / 5)),
        [1, 2, 4, 8, 16, 32],
        'seconds: 5, doubled each time',
      )
      clock.ahead += 16 * 60_000
      assert.equal((await browser.signIn('/api/sign-in', ALICE)).status, 200)
      assert.equal((await guess('alice', 'wrong once more')).status, 401, 'and it begins anew')
      const rows = await audit.read({ most: 500 })
      assert.ok(rows.some(({ outcome, detail }) => outcome === 'failed' && detail === 'account alice'))
      assert.ok(rows.some(({ outcome, detail }) => outcome === 'refused' && detail === 'too many attempts'))
      const kept = JSON.stringify(rows)
      for (const secret of ['guess number', 'not the password', ALICE.password, '"nobody'])
        assert.ok(!kept.includes(secret))
    }))

  test('has few attempts from one address, whatever the names are', () =>
    withAlice(async ({ browser: make, clock }) => {
      const browser = make()
      const statuses: number[] = []
      for (let i = 0; i < 30; i++)
        statuses.push((await browser.post('/api/sign-in', { name: `name${i}`, password: 'a long password' })).status)
      assert.equal(statuses.filter((status) => status === 401).length, 20)
      assert.equal(statuses.filter((status) => status === 429).length, 10)
      assert.equal((await browser.post('/api/link', { token: 'guess' })).status, 429, 'links count, too')
      clock.ahead += 5 * 60_000
      assert.equal((await browser.signIn('/api/sign-in', ALICE)).status, 200)
    }))

  test('cannot flood the server, nor the audit log', async () => {
    const tested = await testedWeb({ now: () => 1_700_000_000_000 })
    try {
      const browser = tested.browser()
      let refused = 0
      for (let i = 0; i < 400; i++) {
        const foreign = { origin: 'https://evil.example' }
        if ((await browser.post('/api/act', {}, foreign)).status === 429) refused++
      }
      assert.equal(refused, 100, '300 in a minute')
      assert.ok((await tested.audit.read({ most: 500 })).length <= 60)
      assert.ok((await stat(join(tested.folder, 'audit.jsonl'))).size < 20_000)
    } finally {
      await tested.close()
    }
  })
})

describe('limits', () => {
  test('remember a bounded number of keys', () => {
    const buckets = new Buckets({ amount: 1, per: 1000 }, () => 0)
    const backoff = new Backoff(() => 0)
    const before = process.memoryUsage().heapUsed
    for (let i = 0; i < 200_000; i++) {
      buckets.take(`key ${i}`)
      backoff.failed(`key ${i}`)
    }
    globalThis.gc?.()
    assert.equal(buckets.take('key 199999') > 0, true)
    assert.equal(buckets.take('key 0'), 0, 'the oldest are forgotten')
    assert.ok(process.memoryUsage().heapUsed - before < 64 * 2 ** 20)
  })

  test('count the addresses of one network of IPv6 as one', () => {
    assert.equal(addressKey('2001:db8:1:2:3:4:5:6'), addressKey('2001:db8:1:2::9'))
    assert.equal(addressKey('2001:DB8:1:2::9%eth0'), addressKey('2001:0db8:0001:0002::'))
    assert.notEqual(addressKey('2001:db8:1:3::9'), addressKey('2001:db8:1:2::9'))
    assert.equal(addressKey('::1'), '0:0:0:0::/64')
    assert.equal(addressKey('192.0.2.1'), '192.0.2.1')
  })
})

describe('the audit log', () => {
  test('has a line for each action, sign-in, look into an archive and download: who, when, from where, what, and how it ended', () =>
    withAlice(async ({ browser: make, folder, signedIn }) => {
      const browser = make()
      await browser.signIn('/api/sign-in', ALICE)
      await browser.post('/api/act', { do: 'verify', host: 'north', archive: '0-0-13' })
      await browser.post('/api/act', { do: 'cancel', id: 'no such\nthing \u001b[2J' })
      await browser.post('/api/act', { do: 'rescan' })
      await browser.post('/api/act', { do: 'note', host: 'north', archive: '0-0-13', text: '\u202eevil\r\n{"at":"x"}' })
      await browser.get('/api/download?host=north&archive=0-0-13&drive=drive-scsi0')
      await browser.get('/api/files?host=north&archive=0-0-13')
      await browser.get('/api/files?host=north&archive=none')
      await browser.get('/api/audit')
      await browser.post('/api/sign-out', {})
      const administrator = await signedIn('administer')
      const password = 'a password of carol'
      await administrator.post('/api/accounts/add', { name: 'carol', password, role: 'look' })
      await administrator.post('/api/accounts/change', { name: 'nobody', role: 'look' })
      const shown = (await administrator.get('/api/audit?most=100')).json
      assert.deepEqual(
        shown.map(({ who, what, outcome }: any) => [who === 'alice' ? who : who && 'link', what, outcome]).reverse(),
        [
          ['alice', 'sign-in', 'done'],
          ['alice', 'verify', 'done'],
          ['alice', 'cancel', 'failed'],
          ['alice', 'rescan', 'refused'],
          ['alice', 'note', 'done'],
          ['alice', 'download', 'done'],
          ['alice', 'look-into', 'done'],
          ['alice', 'look-into', 'failed'],
          ['alice', 'GET /api/audit', 'refused'],
          ['alice', 'sign-out', 'done'],
          ['link', 'sign-in', 'done'],
          ['link', 'add-account', 'done'],
          ['link', 'change-account', 'failed'],
        ],
      )
      const text = await readFile(join(folder, 'audit.jsonl'), 'utf8')
      assert.equal(text.trimEnd().split('\n').length, 13, 'no name breaks a line')
      assert.doesNotMatch(text, /[^\x20-\x7e\n]/, 'nothing moves a cursor')
      assert.match(text, /u\{202e\}evil/)
      for (const secret of [ALICE.password, password, browser.csrf!, administrator.cookie!])
        assert.ok(!text.includes(secret))
      const [third] = (await administrator.get(`/api/audit?most=1&before=${shown[1].at}`)).json
      assert.deepEqual(third, shown[2])
      assert.equal((await stat(join(folder, 'audit.jsonl'))).mode & 0o777, 0o600)
    }))
})
