import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect } from 'node:net'
import { describe, test } from 'node:test'
import { Peers } from '../../../src/web/server/listen.ts'
import { testedWeb } from '../../support/web.ts'

const ACTION = { do: 'verify', host: 'north', archive: '0-0-13' }

describe('a request of another site', () => {
  test('does nothing without the token of the session, and nothing with a foreign origin', async () => {
    const tested = await testedWeb()
    try {
      const browser = await tested.signedIn('operate')
      const other = await tested.signedIn('operate')
      const good = browser.origin
      const cases: [string, Record<string, string | undefined>, number][] = [
        ['no token', { 'x-vmapipe-csrf': undefined }, 403],
        ['an empty token', { 'x-vmapipe-csrf': '' }, 403],
        ['the token of another session', { 'x-vmapipe-csrf': other.csrf }, 403],
        ['another site', { origin: 'https://evil.example', 'sec-fetch-site': 'cross-site' }, 403],
        ['another port', { origin: 'http://127.0.0.1:1', 'sec-fetch-site': 'same-site' }, 403],
        ['another origin alone', { origin: 'https://evil.example', 'sec-fetch-site': undefined }, 403],
        ['an opaque origin', { origin: 'null', 'sec-fetch-site': undefined }, 403],
        ['a prefix of ours', { origin: `${good}.evil.example`, 'sec-fetch-site': undefined }, 403],
        ['no sign of where it comes from', { origin: undefined, 'sec-fetch-site': undefined }, 403],
        ['from the address bar', { origin: undefined, 'sec-fetch-site': 'none' }, 403],
        ['a form', { 'content-type': 'application/x-www-form-urlencoded' }, 415],
        ['text', { 'content-type': 'text/plain' }, 415],
        ['a misleading type', { 'content-type': 'text/plain; application/json' }, 415],
      ]
      for (const [what, headers, status] of cases)
        assert.equal((await browser.post('/api/act', ACTION, headers)).status, status, what)
      assert.deepEqual(tested.house.asked, [])
      assert.equal((await browser.post('/api/act', ACTION)).status, 200)
      assert.equal((await browser.post('/api/act', ACTION, { origin: undefined })).status, 200)
      assert.equal((await browser.post('/api/act', ACTION, { 'sec-fetch-site': undefined })).status, 200)
      assert.equal(tested.house.asked.length, 3)
    } finally {
      await tested.close()
    }
  })

  test('does not sign anybody in, does not read, and does not download', async () => {
    const tested = await testedWeb()
    try {
      await tested.accounts.add('mallory', 'a long password', 'look')
      const stranger = tested.browser()
      const foreign = { origin: 'https://evil.example', 'sec-fetch-site': 'cross-site' }
      const signIn = await stranger.post('/api/sign-in', { name: 'mallory', password: 'a long password' }, foreign)
      assert.deepEqual([signIn.status, signIn.headers['set-cookie']], [403, undefined])
      const browser = await tested.signedIn('administer')
      for (const site of ['cross-site', 'same-site'])
        for (const path of ['/api/now', '/api/events', '/api/download?host=north&archive=0-0-13&drive=drive-scsi0'])
          assert.equal((await browser.get(path, { 'sec-fetch-site': site })).status, 403, `${site} ${path}`)
      assert.equal(
        (await browser.ask('OPTIONS', '/api/act', { headers: foreign })).headers['access-control-allow-origin'],
        undefined,
      )
      assert.deepEqual(tested.house.downloads, [])
    } finally {
      await tested.close()
    }
  })

  test('cannot change anything by GET or HEAD, or by another name of a method', async () => {
    const tested = await testedWeb()
    try {
      const browser = await tested.signedIn('administer')
      for (const method of ['GET', 'HEAD', 'PUT', 'DELETE', 'PATCH', 'OPTIONS'])
        assert.equal((await browser.ask(method, '/api/act')).status, 405, method)
      const override = { 'x-http-method-override': 'POST' }
      assert.equal((await browser.get('/api/act?_method=POST', override)).status, 405)
      const head = await browser.ask('HEAD', '/api/download?host=north&archive=0-0-13&drive=drive-scsi0')
      assert.deepEqual([head.status, tested.house.downloads.length], [405, 0])
      assert.equal((await browser.ask('HEAD', '/')).status, 200)
    } finally {
      await tested.close()
    }
  })
})

describe('a name that is not ours (DNS rebinding)', () => {
  test('is refused before anything else, also with a good cookie', async () => {
    const tested = await testedWeb({ hostNames: ['backup.example'] })
    try {
      const browser = await tested.signedIn('administer')
      const { port } = tested
      const status = async (host: string) => (await browser.get('/api/now', { host })).status
      for (const host of [
        'evil.example',
        `evil.example:${port}`,
        `localhost.evil.example:${port}`,
        `127.0.0.1.evil.example:${port}`,
        `192.0.2.1:${port}`,
        `evil.example@127.0.0.1:${port}`,
        `127.0.0.1:${port}@evil.example`,
        `127.0.0.1:${port}, evil.example`,
        '[::1',
        '0',
        '2130706433',
      ])
        assert.ok([400, 421].includes(await status(host)), host)
      for (const host of [
        `127.0.0.1:${port}`,
        'localhost',
        `LOCALHOST:${port}`,
        `[::1]:${port}`,
        'backup.example',
        'Backup.Example.',
        'backup.example:443',
      ])
        assert.equal(await status(host), 200, host)
    } finally {
      await tested.close()
    }
  })

  test('is refused in the line of the request, too', async () => {
    const tested = await testedWeb()
    try {
      const raw = async (text: string) => {
        const socket = connect(tested.port, '127.0.0.1')
        let answer = ''
        socket.on('data', (data) => {
          answer += data
        })
        socket.write(text)
        await once(socket, 'close')
        return answer
      }
      const end = '\r\nConnection: close\r\n\r\n'
      assert.match(await raw(`GET http://evil.example/ HTTP/1.1\r\nHost: evil.example${end}`), /^HTTP\/1.1 421 /)
      assert.match(await raw(`GET http://evil.example/ HTTP/1.1\r\nHost: 127.0.0.1${end}`), /^HTTP\/1.1 421 /)
      assert.match(await raw(`GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example${end}`), /^HTTP\/1.1 421 /)
      assert.match(await raw(`GET / HTTP/1.1\r\nHost: ${end}`), /^HTTP\/1.1 421 /)
      assert.match(await raw(`GET / HTTP/1.1${end}`), /^HTTP\/1.1 400 /)
      assert.match(await raw(`GET / HTTP/1.1\r\nHost: a\r\nHost: 127.0.0.1${end}`), /^HTTP\/1.1 (400|421) /)
      assert.match(await raw(`GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ${'x'.repeat(20_000)}${end}`), /^HTTP\/1.1 431 /)
    } finally {
      await tested.close()
    }
  })
})

describe('a header of a proxy', () => {
  const as = (user: string) => ({ 'x-remote-user': user })
  const behind = (peers: string[]) => ({
    proxy: {
      peers: new Peers(peers),
      userHeader: 'x-remote-user',
      role: 'look' as const,
      groupHeader: 'x-remote-groups',
      groups: new Map([['ops', 'operate' as const]]),
    },
  })

  test('is believed only if it comes from its address', async () => {
    const tested = await testedWeb(behind(['192.0.2.7', '10.0.0.0/8', 'unix']))
    try {
      const browser = tested.browser()
      const { json } = await browser.get('/api/session', { ...as('root'), 'x-forwarded-for': '10.1.1.1' })
      assert.equal(json.user, null)
      assert.equal((await browser.get('/api/now', as('root'))).status, 401)
    } finally {
      await tested.close()
    }
  })

  test('signs its user in, with the role of a group, and gives the session to nobody else', async () => {
    const tested = await testedWeb(behind(['127.0.0.1']))
    try {
      const browser = tested.browser()
      assert.equal((await browser.get('/api/now')).status, 401)
      assert.equal((await browser.get('/api/now', as('ann'))).status, 401, 'the session is not begun by any request')
      const groups = { ...as('ann'), 'x-remote-groups': 'users, ops' }
      const { json: session } = await browser.get('/api/session', groups)
      assert.deepEqual([session.user, session.role, session.how], ['ann', 'operate', 'proxy'])
      const token = { 'x-vmapipe-csrf': session.csrf }
      assert.equal((await browser.post('/api/act', ACTION, { ...groups, ...token })).status, 200)
      assert.equal(
        (await browser.post('/api/act', ACTION, { ...as('ann'), ...token })).status,
        403,
        'no longer in the group',
      )
      assert.equal((await browser.post('/api/act', ACTION, groups)).status, 403, 'without the token')
      const { cookie } = browser
      assert.equal((await browser.get('/api/now', as('ben'))).status, 401, 'the cookie of another')
      browser.cookie = cookie
      assert.equal((await browser.get('/api/now', as('ann'))).status, 401, 'that has ended it')
      for (const user of ['a,b', 'x'.repeat(201), ' '])
        assert.equal((await browser.get('/api/session', as(user))).json.user, null)
    } finally {
      await tested.close()
    }
  })

  test('tells the address of the browser: the last one, which the proxy has added', async () => {
    const tested = await testedWeb(behind(['127.0.0.1']))
    try {
      const browser = tested.browser()
      await browser.get('/api/session', { ...as('ann'), 'x-forwarded-for': '203.0.113.1, 198.51.100.9' })
      await browser.get('/api/session', { ...as('ben'), 'x-forwarded-for': 'nonsense' })
      assert.deepEqual(
        (await tested.audit.read()).map(({ who, from }) => [who, from]),
        [
          ['ben', '127.0.0.1'],
          ['ann', '198.51.100.9'],
        ],
      )
    } finally {
      await tested.close()
    }
  })
})
