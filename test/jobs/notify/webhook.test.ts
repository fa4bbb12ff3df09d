import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { createServer, type IncomingHttpHeaders, type ServerResponse } from 'node:http'
import { createServer as createSecureServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { dirname, join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { notify } from '../../../src/jobs/notify/notify.ts'
import { notifySchema } from '../../../src/jobs/notify/schema.ts'
import { freePorts } from '../../support/ports.ts'
import { tmpDir } from '../../support/tmp.ts'
import { needs } from '../../support/tools.ts'
import { guestReport, HOSTILE, runReport } from '../report.ts'

interface Got {
  method: string
  url: string
  headers: IncomingHttpHeaders
  body: string
}

/** A server that keeps each request, and answers as `answer` says; 200 by default. */
async function receiver(t: TestContext, answer: (res: ServerResponse, nth: number) => void = (res) => res.end('ok')) {
  const got: Got[] = []
  const server = createServer(async (req, res) => {
    let body = ''
    for await (const part of req) body += part
    got.push({ method: req.method!, url: req.url!, headers: req.headers, body })
    answer(res, got.length)
  }).listen(0, '127.0.0.1')
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  await once(server, 'listening')
  return { got, at: `http://127.0.0.1:${(server.address() as AddressInfo).port}` }
}

function secretFile(t: TestContext, secret: string): string {
  const file = join(tmpDir(t), 'secret')
  writeFileSync(file, `${secret}\n`, { mode: 0o600 })
  return file
}

const failed = runReport([guestReport('db'), guestReport(HOSTILE, { outcome: 'failed', reason: 'connection refused' })])
const quick = { pause: 1 }

test('without a template the whole report comes as JSON, with a token from a file', async (t) => {
  const { got, at } = await receiver(t)
  const job = { notify: [{ webhook: `${at}/hook`, 'token-file': secretFile(t, 'tk_1') }] }
  assert.deepEqual(await notify(job, 'failure', failed), [{ who: `the webhook at ${at.slice(7)}` }])
  const { event, title, report } = JSON.parse(got[0].body)
  assert.equal(got[0].headers.authorization, 'Bearer tk_1')
  assert.equal(event, 'failure')
  assert.equal(title, 'vmapipe: nightly on host1: 1 of 2 guests failed')
  assert.deepEqual(report, failed)
})

test('ntfy gets the topic beside the text, and the text is short enough to be shown', async (t) => {
  const { got, at } = await receiver(t)
  const many = runReport(
    Array.from({ length: 400 }, (_, i) => guestReport(`gä€st-${i}`, { outcome: 'failed', reason: 'x' })),
  )
  await notify({ notify: [{ webhook: `${at}/under/backups`, template: 'ntfy' }] }, 'failure', many)
  assert.equal(got[0].url, '/under/')
  const body = JSON.parse(got[0].body)
  assert.equal(body.topic, 'backups')
  assert.equal(body.priority, 4)
  assert.ok(Buffer.byteLength(body.message) <= 4096)
})

test('Slack gets text in which nothing of a guest is markup', async (t) => {
  const { got, at } = await receiver(t)
  await notify({ notify: [{ webhook: `${at}/services/T0/B0/x`, template: 'slack' }] }, 'failure', failed)
  const { text, blocks } = JSON.parse(got[0].body)
  assert.ok(!text.includes('<') && text.includes('&lt;!channel&gt;'))
  assert.deepEqual(
    blocks.map((block: { text: { type: string } }) => block.text.type),
    ['plain_text', 'plain_text'],
  )
  assert.ok(blocks[0].text.text.length <= 150 && blocks[1].text.text.length <= 3000)
})

test('Gotify gets its message with its key, whether or not the URL ends in /message', async (t) => {
  const { got, at } = await receiver(t)
  const gotify = { template: 'gotify' as const, 'token-file': secretFile(t, 'Akey') }
  await notify(
    {
      notify: [
        { webhook: at, ...gotify },
        { webhook: `${at}/message`, ...gotify },
      ],
    },
    'failure',
    failed,
  )
  for (const { url, headers, body } of got) {
    assert.equal(url, '/message')
    assert.equal(headers['x-gotify-key'], 'Akey')
    assert.equal(JSON.parse(body).extras['client::display'].contentType, 'text/plain')
  }
  assert.equal(got.length, 2)
})

test('a message to a room of Matrix is the same transaction when it is sent again', async (t) => {
  const { got, at } = await receiver(t, (res, nth) => res.writeHead(nth === 1 ? 502 : 200).end())
  const matrix = {
    webhook: at,
    template: 'matrix' as const,
    room: '!abc/..:example.org',
    'token-file': secretFile(t, 'syt'),
  }
  assert.equal((await notify({ notify: [matrix] }, 'failure', failed, quick))[0].problem, undefined)
  assert.equal(got.length, 2)
  assert.equal(got[0].url, got[1].url)
  assert.match(
    got[0].url,
    /^\/_matrix\/client\/v3\/rooms\/!abc%2F\.\.%3Aexample\.org\/send\/m\.room\.message\/[0-9a-f]{32}$/,
  )
  assert.equal(got[0].method, 'PUT')
  assert.equal(JSON.parse(got[0].body).formatted_body, undefined)
})

test('pings measure a run from its start to its success or failure, and a test changes nothing', async (t) => {
  const { got, at } = await receiver(t)
  const job = { notify: [{ ping: { file: secretFile(t, `${at}/ping/uuid`) } }] }
  const all = runReport([guestReport('db')])
  await notify(job, 'start', all)
  await notify(job, 'success', all)
  await notify(job, 'failure', failed)
  await notify(job, 'test', all)
  const rid = '?rid=0b6e3c1e-0f0a-4c56-9d55-3f1f2c1d9a10'
  assert.deepEqual(
    got.map(({ url }) => url),
    ['/start', '', '/fail', '/log'].map((part) => `/ping/uuid${part}${rid}`),
  )
  assert.match(got[2].body, /1 of 2 guests failed\n\n.*connection refused/s)
})

test('each is told when it wants to be', async (t) => {
  const { got, at } = await receiver(t)
  const on = ['always', 'failure', 'success', 'start', 'change'] as const
  const job = {
    notify: [
      ...on.map((when) => ({ webhook: `${at}/${when}`, on: when })),
      { webhook: `${at}/unsaid` },
      { webhook: `${at}/two`, on: ['start', 'failure'] as ('start' | 'failure')[] },
    ],
  }
  const told = async (event: 'start' | 'success' | 'failure' | 'test') => {
    got.length = 0
    await notify(job, event, failed)
    return got.map(({ url }) => url.slice(1)).sort()
  }
  assert.deepEqual(await told('start'), ['start', 'two'])
  assert.deepEqual(await told('success'), ['always', 'success'])
  assert.deepEqual(await told('failure'), ['always', 'failure', 'two', 'unsaid'])
  assert.equal((await told('test')).length, 7)
  got.length = 0
  await notify(job, 'success', failed, { changed: true })
  assert.deepEqual(got.map(({ url }) => url.slice(1)).sort(), ['always', 'change', 'success'])
})

test('a server that is busy is asked again, one that refuses is not', async (t) => {
  const busy = await receiver(t, (res, nth) => res.writeHead(nth < 3 ? 503 : 200).end())
  const refusing = await receiver(t, (res) => res.writeHead(403).end('<b>wrong\ntoken</b>\u001b[2J'))
  const patient = await receiver(t, (res) => res.writeHead(429, { 'retry-after': '3600' }).end())
  const job = { notify: [busy, refusing, patient].map(({ at }) => ({ webhook: `${at}/secret-part` })) }
  const warnings: string[] = []
  const told = await notify(job, 'failure', failed, { ...quick, warn: (line) => void warnings.push(line) })
  assert.equal(told[0].problem, undefined)
  assert.equal(busy.got.length, 3)
  assert.match(told[1].problem!, /answers 403: <b>wrong token<\/b>\\u\{1b\}\[2J; look at the address and the token$/)
  assert.equal(refusing.got.length, 1)
  assert.match(told[2].problem!, /answers 429/)
  assert.equal(patient.got.length, 1)
  assert.ok(!warnings.join().includes('secret-part'), 'a URL may be a secret')
})

test('a redirect is not followed: the token stays here', async (t) => {
  const other = await receiver(t)
  const { at } = await receiver(t, (res) => res.writeHead(308, { location: `${other.at}/steal` }).end())
  const [told] = await notify({ notify: [{ webhook: at, 'token-file': secretFile(t, 'tk') }] }, 'failure', failed)
  assert.match(told.problem!, /redirects to http:\/\/127\.0\.0\.1:\d+; name the address/)
  assert.equal(other.got.length, 0)
})

test('receivers that hang, are not there, or never stop answering cost their time limit and no more', async (t) => {
  const hung = await receiver(t, () => {})
  const endless = await receiver(t, (res) => {
    res.writeHead(400)
    const timer = setInterval(() => res.write('x'.repeat(1000)), 1)
    t.after(() => clearInterval(timer))
  })
  const [nobody] = await freePorts(1)
  const job = {
    notify: [hung.at, endless.at, `http://127.0.0.1:${nobody}/`].map((webhook) => ({ webhook, timeout: 1000 })),
  }
  const [silent, long, absent] = await notify(job, 'failure', failed, quick)
  assert.match(silent.problem!, /does not answer within 1 s/)
  assert.equal(hung.got.length, 3)
  assert.match(long.problem!, /answers 400: x{200}; look/)
  assert.match(absent.problem!, /connection refused/)
})

test('an aborted run waits for nobody', async (t) => {
  const { at } = await receiver(t, () => {})
  const begun = performance.now()
  const [told] = await notify({ notify: [{ webhook: at }] }, 'failure', failed, { signal: AbortSignal.timeout(100) })
  assert.ok(told.problem !== undefined && performance.now() - begun < 8000)
})

test('a user and a password in a URL are sent as such, and a wrong URL in a file is not shown', async (t) => {
  const { got, at } = await receiver(t)
  const webhook = at.replace('//', '//me:s%3Acret@')
  const job = { notify: [{ webhook }, { ping: { file: secretFile(t, 'ftp://hidden.example/x') } }] }
  const [, wrong] = await notify(job, 'failure', failed)
  assert.equal(got[0].headers.authorization, `Basic ${Buffer.from('me:s:cret').toString('base64')}`)
  assert.match(wrong.problem!, /no URL of http or https/)
  assert.ok(!wrong.problem!.includes('hidden'))
})

test('a job file says what is wrong with a notification', () => {
  const wrong = [
    { webhook: 'file:///etc/passwd' },
    { webhook: 'https://x/', template: 'teams' },
    { sms: '1' },
    { ping: 'x' },
  ]
  for (const one of wrong) assert.ok(!notifySchema.safeParse([one]).success, JSON.stringify(one))
})

test('a server with a certificate of its own is believed if its authority is named', {
  timeout: 60_000,
  ...needs('openssl'),
}, async (t) => {
  const dir = tmpDir(t)
  const [key, cert] = ['key.pem', 'cert.pem'].map((name) => join(dir, name))
  const request =
    '-x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost'.split(' ')
  execFileSync('openssl', ['req', ...request, '-keyout', key, '-out', cert], { stdio: 'ignore' })
  const options = { key: readFileSync(key), cert: readFileSync(cert) }
  const server = createSecureServer(options, (_, res) => res.end()).listen(0, '127.0.0.1')
  t.after(() => server.close())
  await once(server, 'listening')
  const ping = `https://localhost:${(server.address() as AddressInfo).port}/x`
  const told = await notify({ notify: [{ ping, ca: cert }, { ping }] }, 'success', runReport([]), quick)
  assert.equal(told[0].problem, undefined)
  assert.match(told[1].problem!, /self[- ]signed certificate/)
})

test('paths in a job file count from its folder', async (t) => {
  const { got, at } = await receiver(t)
  const file = secretFile(t, at)
  const job = { file: join(dirname(file), 'nightly.yaml'), notify: [{ ping: { file: 'secret' } }] }
  assert.deepEqual(await notify(job, 'success', runReport([])), [{ who: 'the ping of secret' }])
  assert.equal(got.length, 1)
})
