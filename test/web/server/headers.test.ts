import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { attachment, DATA_POLICY, PAGE_POLICY } from '../../../src/web/server/headers.ts'
import { HOSTILE } from '../../support/made-up-guests.ts'
import { type Answer, testedWeb } from '../../support/web.ts'

/** Of every answer, whatever it is. */
const ALWAYS: Record<string, string | RegExp> = {
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
  'referrer-policy': 'no-referrer',
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'cross-origin-embedder-policy': 'require-corp',
  'permissions-policy': /camera=\(\)/,
}

function checkHeaders({ headers, status }: Answer, what: string, policy: string): void {
  for (const [name, value] of Object.entries(ALWAYS)) {
    if (typeof value === 'string') assert.equal(headers[name], value, `${what} (${status}) has ${name}`)
    else assert.match(headers[name] as string, value)
  }
  assert.equal(headers['content-security-policy'], policy, what)
  assert.equal(headers['x-powered-by'], undefined)
  assert.equal(headers['access-control-allow-origin'], undefined)
}

describe('the headers', () => {
  test('are on every answer: the page, data, errors, and what is not there', async () => {
    const tested = await testedWeb()
    try {
      const stranger = tested.browser()
      const signedIn = await tested.signedIn('administer')
      checkHeaders(await stranger.get('/'), 'the page', PAGE_POLICY)
      checkHeaders(await stranger.get('/guests'), 'a view of the page', PAGE_POLICY)
      for (const [what, answer] of Object.entries({
        'signed out': await stranger.get('/api/now'),
        'no such route': await stranger.get('/api/no-such'),
        'no such file': await stranger.get('/no/such.js'),
        'another method': await stranger.ask('PUT', '/api/now'),
        'another host': await stranger.get('/', { host: 'evil.example' }),
        'no token': await signedIn.post('/api/act', { do: 'rescan' }, { 'x-vmapipe-csrf': undefined }),
        data: await signedIn.get('/api/guests'),
        nonsense: await signedIn.get('/api/runs?since=yesterday'),
        download: await signedIn.get('/api/download?host=north&archive=0-0-13&drive=drive-scsi0'),
      })) {
        checkHeaders(answer, what, DATA_POLICY)
        assert.match(answer.headers['cache-control'] as string, /no-store/, what)
      }
    } finally {
      await tested.close()
    }
  })

  test('the policy of the page allows nothing inline, and nothing of others', () => {
    const policy = new Map(
      PAGE_POLICY.split('; ').map((part) => [part.split(' ')[0], part.split(' ').slice(1).join(' ')]),
    )
    assert.equal(policy.get('default-src'), "'none'")
    for (const name of ['script-src', 'style-src', 'img-src', 'connect-src']) assert.equal(policy.get(name), "'self'")
    for (const name of ['frame-ancestors', 'base-uri']) assert.equal(policy.get(name), "'none'")
    assert.doesNotMatch(PAGE_POLICY, /unsafe|http|data:|\*/)
  })

  test('HSTS and secure cookies if browsers come by TLS, and only then', async () => {
    for (const isSecure of [false, true]) {
      const tested = await testedWeb({ isSecure })
      try {
        const browser = tested.browser()
        const { token } = await tested.links.make('look')
        const answer = await browser.post('/api/link', { token })
        assert.equal(answer.status, 200)
        assert.equal(answer.headers['strict-transport-security'] !== undefined, isSecure)
        const [cookie] = answer.headers['set-cookie']!
        assert.match(cookie, /; HttpOnly/)
        assert.match(cookie, /; SameSite=Strict/)
        assert.match(cookie, /; Path=\//)
        assert.doesNotMatch(cookie, /Domain/i)
        assert.equal(/; Secure/.test(cookie), isSecure)
        assert.equal(cookie.startsWith('__Host-'), isSecure)
        assert.ok(!answer.text.includes(cookie.split(/[=;]/)[1]), 'scripts never see it')
      } finally {
        await tested.close()
      }
    }
  })
})

describe('the name of a download', () => {
  const names = [
    ...HOSTILE,
    'a"b.raw',
    'a\\b.raw',
    '../../etc/passwd',
    '..',
    '.bashrc',
    'x\r\nSet-Cookie: a=b',
    'naïve ☃ 🐧.img',
    '\ud800broken',
    "it's; filename=other.exe",
    '%2e%2e%2f',
    ' ',
    '',
    'x'.repeat(5000),
    '\u0000',
  ]

  test('is a header of one line, in ASCII, and no path', () => {
    for (const name of names) {
      const header = attachment(name)
      assert.match(
        header,
        /^attachment; filename="[^"\\/%;\r\n]+"; filename\*=UTF-8''[A-Za-z0-9._~%#$&+^`|-]+$/,
        JSON.stringify(name),
      )
      assert.match(header, /^[\x20-\x7e]+$/)
      const [, encoded] = /filename\*=UTF-8''(.*)$/.exec(header)!
      const decoded = decodeURIComponent(encoded)
      assert.doesNotMatch(decoded, /[/\\\p{Cc}\p{Cf}]|^\.|^$/u)
      assert.ok(decoded.length <= 200)
    }
    assert.equal(attachment('web01.raw'), `attachment; filename="web01.raw"; filename*=UTF-8''web01.raw`)
    assert.equal(
      attachment('naïve ☃.img'),
      `attachment; filename="na_ve _.img"; filename*=UTF-8''na%C3%AFve%20%E2%98%83.img`,
    )
  })

  test('reaches a browser whatever it is, with the bytes of the drive', async () => {
    for (const downloadName of names) {
      const tested = await testedWeb({ house: { downloadName, downloadSize: 1000 } })
      try {
        const browser = await tested.signedIn('operate')
        const answer = await browser.get('/api/download?host=north&archive=0-0-13&drive=drive-scsi0')
        assert.equal(answer.status, 200)
        assert.equal(answer.body.length, 1000)
        assert.equal(answer.headers['content-disposition'], attachment(downloadName))
        assert.equal(answer.headers['set-cookie'], undefined)
        assert.equal(answer.headers['content-type'], 'application/octet-stream')
        assert.match(answer.headers['content-security-policy'] as string, /sandbox/)
      } finally {
        await tested.close()
      }
    }
  })
})
