import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync, statSync } from 'node:fs'
import { request } from 'node:http'
import { request as requestTls } from 'node:https'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { json, text } from 'node:stream/consumers'
import { describe, type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { tmpDir } from '../support/tmp.ts'
import { needs } from '../support/tools.ts'
import { oneLine, startCli, vmapipe } from './cli.ts'

const limits = { timeout: 120_000 }

/** A host without jobs, whose files are all in one folder. */
function emptyHost(dir: string): Record<string, string> {
  return {
    VMAPIPE_STATE: join(dir, 'state'),
    VMAPIPE_RUNTIME: join(dir, 'run'),
    XDG_CONFIG_HOME: join(dir, 'config'),
    HOME: dir,
  }
}

/** Serves the page, and waits for its link. */
async function servePage(t: TestContext, dir: string, args: string[]) {
  const child = startCli(['web', '--no-open', ...args], { env: emptyHost(dir), longest: 100_000 })
  t.after(() => child.kill('SIGKILL'))
  let said = ''
  child.stderr.on('data', (data) => {
    said += data
  })
  const closed = once(child, 'close')
  const first = createInterface({ input: child.stdout })[Symbol.asyncIterator]().next()
  const link = await Promise.race([first.then(({ value }) => value as string), closed.then(() => assert.fail(said))])
  const [, address, token] = /^(.*)\/#link=([\w-]{43})$/.exec(link)!
  return {
    ...{ child, address, token, said: () => said },
    /** Returns the code, and how long it took. */
    async stop() {
      const begun = performance.now()
      child.kill('SIGTERM')
      const [code] = await closed
      return { code, seconds: (performance.now() - begun) / 1000 }
    },
  }
}

interface Asked {
  body?: unknown
  headers?: Record<string, string>
  socketPath?: string
  ca?: Buffer
}

/** The status alone; what follows is read too, as a server that ends waits for a client that does not read. */
async function statusOf(...asked: Parameters<typeof ask>): Promise<number> {
  const answer = await ask(...asked)
  answer.resume()
  return answer.statusCode
}

async function ask(address: string, path: string, { body, headers, socketPath, ca }: Asked = {}) {
  const { protocol, hostname, port, host } = new URL(address)
  const isTls = protocol === 'https:' && socketPath === undefined
  const method = body === undefined ? 'GET' : 'POST'
  const all = { host, origin: `${protocol}//${host}`, 'content-type': 'application/json', ...headers }
  const where =
    socketPath === undefined ? { hostname, port, ...(ca && { ca, servername: 'localhost' }) } : { socketPath }
  const sent = (isTls ? requestTls : request)({ ...where, method, path, headers: all, agent: false })
  sent.end(body === undefined ? undefined : JSON.stringify(body))
  const [answer] = await once(sent, 'response')
  return answer
}

describe('vmapipe web', () => {
  test('prints a link that signs in once, shows this host, and ends within two seconds', limits, async (t) => {
    const dir = tmpDir(t)
    const page = await servePage(t, dir, ['--listen', '127.0.0.1:0'])
    assert.match(page.said(), /the page is at http:\/\/127\.0\.0\.1:\d+/)
    const answer = await ask(page.address, '/api/link', { body: { token: page.token } })
    const session: any = await json(answer)
    assert.deepEqual([session.role, session.how], ['administer', 'link'])
    const cookie = answer.headers['set-cookie'][0].split(';')[0]
    assert.equal(await statusOf(page.address, '/api/link', { body: { token: page.token } }), 401)
    const now: any = await json(await ask(page.address, '/api/now', { headers: { cookie } }))
    assert.deepEqual(now.rows, [])
    const shown = await text(await ask(page.address, '/'))
    assert.match(shown, /<!doctype html>/i)
    const events = await ask(page.address, '/api/events', { headers: { cookie } })
    const streamed = text(events)
    const { code, seconds } = await page.stop()
    assert.equal(code, 0)
    assert.ok(seconds < 10, `${seconds} s, on a machine that may be slow; alone it is 0.1 s`)
    assert.match(await streamed, /^retry: 2000/, 'the stream ended in order')
    assert.ok(!existsSync(join(dir, 'state/web/serving.json')))
    const audit = readFileSync(join(dir, 'state/web/audit.jsonl'), 'utf8')
    assert.match(audit, /"what":"make-link".*\n.*"what":"sign-in"/)
    assert.ok(!audit.includes(page.token))
    const next = await servePage(t, dir, ['--listen', '127.0.0.1:0'])
    assert.equal(
      await statusOf(next.address, '/api/now', { headers: { cookie } }),
      200,
      `a restart signs nobody out: ${next.said()}`,
    )
    const second = await servePage(t, dir, ['--listen', '127.0.0.1:0'])
    assert.match(second.said(), /another page has this state/)
  })

  test('web link and web user work while it is served, and count at once', limits, async (t) => {
    const dir = tmpDir(t)
    const env = emptyHost(dir)
    const page = await servePage(t, dir, ['--listen', '127.0.0.1:0'])
    const link = await vmapipe(['web', 'link', '--role', 'look'], { env })
    const [, token] = /#link=([\w-]{43})\n$/.exec(link.stdout.toString())!
    assert.ok(link.stdout.toString().startsWith(page.address))
    assert.equal(((await json(await ask(page.address, '/api/link', { body: { token } }))) as any).role, 'look')
    const user = { name: 'alice', password: 'correct horse battery' }
    assert.equal(await statusOf(page.address, '/api/sign-in', { body: user }), 401)
    const input = Buffer.from(`${user.password}\n`)
    const added = await vmapipe(['web', 'user', 'add', 'alice', '--role', 'operate'], { env, input })
    assert.deepEqual([added.code, added.stdout.toString()], [0, "'alice' may sign in, with the role operate\n"])
    const signedIn = await ask(page.address, '/api/sign-in', { body: user })
    assert.equal(signedIn.statusCode, 200)
    const headers = { cookie: signedIn.headers['set-cookie'][0].split(';')[0] }
    assert.equal(await statusOf(page.address, '/api/now', { headers }), 200)
    assert.equal((await vmapipe(['web', 'user', 'role', 'alice', 'look'], { env })).code, 0)
    assert.equal(((await json(await ask(page.address, '/api/session', { headers }))) as any).role, 'look')
    const list = await vmapipe(['web', 'user', 'list', '--json'], { env })
    assert.deepEqual(
      JSON.parse(list.stdout.toString()).map(({ name, role }: any) => [name, role]),
      [['alice', 'look']],
    )
    const other = await vmapipe(['web', 'user', 'password', 'alice'], { env, input: Buffer.from('another password\n') })
    assert.equal(other.code, 0)
    assert.equal(await statusOf(page.address, '/api/now', { headers }), 401)
    assert.equal((await vmapipe(['web', 'user', 'remove', 'alice'], { env })).code, 0)
    assert.match((await vmapipe(['web', 'user', 'list'], { env })).stdout.toString(), /there are no accounts/)
    const files = ['accounts.json', 'audit.jsonl', 'serving.json'].map((name) => join(dir, 'state/web', name))
    for (const file of files) assert.equal(statSync(file).mode & 0o777, 0o600, file)
    assert.equal((await page.stop()).code, 0)
  })

  test('refuses what is not safe, or makes no sense, in one line', limits, async (t) => {
    const dir = tmpDir(t)
    const env = emptyHost(dir)
    const cases: [string[], number, RegExp, string?][] = [
      [['--listen', '0.0.0.0:0'], 2, /without TLS the page is served to this host alone/],
      [['--listen', '[::]:0'], 2, /without TLS/],
      [['--listen', 'backup.example:0', '--behind-proxy'], 2, /without TLS/],
      [['--listen', '8461'], 2, /write it as 127\.0\.0\.1:8461/],
      [['--tls-cert', 'x.crt'], 2, /a certificate needs its key/],
      [['--tls-cert', join(dir, 'x.crt'), '--tls-key', join(dir, 'x.key')], 2, /no such file or directory/],
      [['--trust-header', 'X-Remote-User'], 2, /nothing says whose header X-Remote-User is believed/],
      [['--trust-from', '127.0.0.1'], 2, /give --behind-proxy/],
      [['--behind-proxy', '--trust-from', 'proxy.example'], 2, /is no address of a peer/],
      [['--behind-proxy', '--trust-from', 'unix', '--trust-header', 'X', '--group', 'a=root'], 2, /'root' is no role/],
      [['--socket-mode', '0660'], 2, /there is no socket/],
      [['link'], 1, /no page is served/],
      [['user', 'add', '../x'], 2, /cannot be the name of an account/, 'correct horse battery\n'],
      [['user', 'add', 'bob'], 2, /at least 12 characters/, 'short\n'],
      [['user', 'add', 'bob'], 2, /has no password/, ''],
      [['user', 'remove', 'bob'], 2, /there is no account 'bob'/],
      [['user', 'role', 'bob', 'root'], 2, /it is look, operate or administer/],
    ]
    for (const [args, code, line, input] of cases) {
      const outcome = await vmapipe(['web', ...args], {
        env,
        ...(input !== undefined && { input: Buffer.from(input) }),
      })
      assert.match(oneLine(outcome), line, args.join(' '))
      assert.equal(outcome.code, code, args.join(' '))
    }
  })

  test('speaks TLS, with secure cookies, to all who can connect', { ...limits, ...needs('openssl') }, async (t) => {
    const dir = tmpDir(t)
    const [cert, key] = [join(dir, 'page.crt'), join(dir, 'page.key')]
    execFileSync(
      'openssl',
      [
        ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'],
        ...[
          '-subj',
          '/CN=localhost',
          '-addext',
          'subjectAltName=DNS:localhost,IP:127.0.0.1',
          '-keyout',
          key,
          '-out',
          cert,
        ],
      ],
      { stdio: 'ignore' },
    )
    const page = await servePage(t, dir, ['--listen', '0.0.0.0:0', '--tls-cert', cert, '--tls-key', key])
    assert.match(page.address, /^https:\/\/localhost:\d+$/)
    const ca = readFileSync(cert)
    const answer = await ask(page.address, '/api/link', { body: { token: page.token }, ca })
    assert.equal(answer.statusCode, 200)
    assert.match(answer.headers['set-cookie'][0], /^__Host-vmapipe=.*; Secure/)
    assert.match(answer.headers['strict-transport-security'], /max-age=/)
    const foreign = await ask(page.address, '/api/session', { ca, headers: { host: 'evil.example' } })
    assert.equal(foreign.statusCode, 421)
    assert.equal((await page.stop()).code, 0)
  })

  test('serves a unix socket behind a proxy that signs people in', limits, async (t) => {
    const dir = tmpDir(t)
    const socketPath = join(dir, 'web.sock')
    const page = await servePage(t, dir, [
      ...['--listen', socketPath, '--behind-proxy', '--host-name', 'backup.example', '--trust-from', 'unix'],
      ...['--trust-header', 'X-Remote-User', '--group-header', 'X-Groups', '--group', 'admins=administer'],
    ])
    assert.equal(statSync(socketPath).mode & 0o777, 0o600)
    assert.equal(page.address, 'https://backup.example')
    const headers = { 'x-remote-user': 'ann', 'x-groups': 'admins', 'x-forwarded-for': '192.0.2.9' }
    const answer = await ask(page.address, '/api/session', { socketPath, headers })
    assert.match(answer.headers['set-cookie'][0], /Secure/)
    const session: any = await json(answer)
    assert.deepEqual([session.user, session.role, session.how], ['ann', 'administer', 'proxy'])
    const cookie = answer.headers['set-cookie'][0].split(';')[0]
    const [row]: any = await json(
      await ask(page.address, '/api/audit', { socketPath, headers: { ...headers, cookie } }),
    )
    assert.deepEqual([row.who, row.from], ['ann', '192.0.2.9'])
    assert.equal((await page.stop()).code, 0)
    await sleep(10)
    assert.ok(!existsSync(socketPath))
  })
})
