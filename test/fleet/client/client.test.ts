import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { VmapipeError } from '../../../src/core/errors.ts'
import { PeopleClient } from '../../../src/fleet/client/people-client.ts'
import { Transport } from '../../../src/fleet/client/transport.ts'
import { until } from '../../storage/archive/processes.ts'
import { makeAuthority } from '../../support/certificates.ts'
import { freePorts } from '../../support/ports.ts'
import { tmpDir } from '../../support/tmp.ts'
import { needs } from '../../support/tools.ts'
import { served } from '../server/served.ts'

const limits = { timeout: 60_000 }

/** The one line that a call fails with. */
async function failure(call: Promise<unknown>): Promise<VmapipeError> {
  try {
    await call
  } catch (error) {
    assert.ok(error instanceof VmapipeError, String(error))
    assert.doesNotMatch(error.text, /\n/)
    return error
  }
  throw new Error('it should have failed')
}

describe('people', limits, () => {
  test('ask everything by the socket and by the URL as they would within the planner', async (t) => {
    const socket = join(tmpDir(t), 'fleet.sock')
    const { fleet, server, person } = await served(t, { socket })
    for (const place of [{ socket }, { url: server.url, token: person }, { url: `${server.url}/`, token: person }]) {
      const client = new PeopleClient(place)
      fleet.calls.length = 0
      assert.deepEqual(await client.status(), fleet.answers['people.status'])
      const name = 'a "guest" with \u001b[2J, ü and /../ & ?'
      await client.hosts()
      await client.guests()
      await client.jobs()
      await client.works({ guest: name, most: 7 })
      await client.archives({ guest: name })
      await client.drain('h1', true)
      await client.forgetHost('h1')
      assert.deepEqual(await client.start({ job: 'nightly', guests: [name], full: true }), ['w1'])
      assert.equal(await client.verify({ host: 'h1', job: 'nightly', archive: '/srv/a.vma', boot: true }), 'w2')
      assert.equal(await client.prune({ host: 'h1', job: 'nightly' }), 'w3')
      await client.cancel('w1', 'no')
      await client.rescan()
      await client.centralJobs()
      await client.putCentralJob('nightly', 'hosts: [a]\n')
      await client.removeCentralJob('nightly')
      await client.revoke('abc')
      assert.deepEqual(
        fleet.calls
          .filter((call) => call.name !== 'tokens.check')
          .map((call) => [call.name.split('.')[1], ...call.args]),
        [
          ['status'],
          ['hosts'],
          ['guests'],
          ['jobs'],
          ['works', { guest: name, most: 7 }],
          ['archives', { guest: name }],
          ['drain', 'h1', true],
          ['forgetHost', 'h1'],
          ['start', { job: 'nightly', guests: [name], full: true }],
          ['verify', { host: 'h1', job: 'nightly', archive: '/srv/a.vma', boot: true }],
          ['prune', { host: 'h1', job: 'nightly' }],
          ['cancel', 'w1', 'no'],
          ['rescan'],
          ['centralJobs'],
          ['putCentralJob', 'nightly', 'hosts: [a]\n'],
          ['removeCentralJob', 'nightly'],
          ['revoke', 'abc'],
        ],
      )
      const { id, text } = await client.make({ name: 'h9', kind: 'agent', guests: ['web-*'] })
      assert.equal(fleet.known.get(text)?.id, id)
      assert.ok((await client.list()).some((token) => token.id === id))
    }
  })

  test('are told what the planner says, with the same exit code', async (t) => {
    const { fleet, server, person } = await served(t)
    const client = new PeopleClient({ url: server.url, token: person })
    fleet.answers['people.forgetHost'] = new VmapipeError('USAGE', 'there is no host h7', { hint: 'there are h1, h2' })
    const missing = await failure(client.forgetHost('h7'))
    assert.deepEqual([missing.exitCode, missing.text], [2, 'there is no host h7; there are h1, h2'])
    fleet.answers['people.status'] = new VmapipeError('FAILED', 'the database is away')
    assert.deepEqual((await failure(client.status())).text, 'the database is away')
    fleet.answers['people.putCentralJob'] = new VmapipeError('CONFIG', 'nightly.yaml:3:1: hooks: no')
    assert.equal((await failure(client.putCentralJob('nightly', ''))).code, 'CONFIG')
  })

  test('who watch are told of changes, also after the planner was away', async (t) => {
    const socket = join(tmpDir(t), 'fleet.sock')
    const { fleet, server } = await served(t, { socket })
    const client = new PeopleClient({ socket })
    const told: string[][] = []
    const stop = client.watch((topics) => {
      told.push([...topics])
    })
    t.after(() => stop())
    await until(() => told.length === 1 && fleet.watchers.size === 1, 'it looks at once')
    fleet.change('jobs', 'archives')
    await until(() => told.length === 2, 'it looks again')
    assert.deepEqual(told, [
      ['now', 'hosts', 'guests', 'jobs', 'archives'],
      ['jobs', 'archives'],
    ])
    await server.stop()
    assert.equal(fleet.watchers.size, 0)
    const { fleet: next } = await served(t, { socket })
    await until(() => next.watchers.size === 1, 'it has found the new one')
    stop()
    await until(() => next.watchers.size === 0, 'it has gone')
  })

  test('cannot write central jobs that are files of the planner', async (t) => {
    const { server, person, fleet } = await served(t, { jobsFrom: '/etc/vmapipe/central' })
    const client = new PeopleClient({ url: server.url, token: person })
    const { text } = await failure(client.putCentralJob('nightly', 'hosts: [a]'))
    assert.match(text, /central jobs are the files in '\/etc\/vmapipe\/central' of the planner; change them there/)
    await failure(client.removeCentralJob('nightly'))
    assert.ok(fleet.calls.every(({ name }) => name === 'tokens.check'))
  })
})

describe('a planner that cannot be asked', limits, () => {
  test('is not running, or is another user’s', async (t) => {
    const dir = tmpDir(t)
    const socket = join(dir, 'fleet.sock')
    assert.match(
      (await failure(new PeopleClient({ socket }).status())).text,
      /^no planner of this user runs here: nothing listens at '.*fleet\.sock'; start it by vmapipe fleet serve/,
    )
    const [port] = await freePorts(1)
    const url = `http://127.0.0.1:${port}`
    assert.equal(
      (await failure(new PeopleClient({ url, token: 'x' }).status())).text,
      `no planner listens at ${url}: connection refused (ECONNREFUSED)`,
    )
  })

  test('refuses the token', async (t) => {
    const { server, agent } = await served(t)
    const wrong = await failure(new PeopleClient({ url: server.url, token: 'x' }).status())
    assert.match(
      wrong.text,
      /^the planner at http:\/\/127.* refuses the token: this token is not valid here; it may have been revoked/,
    )
    const kind = await failure(new PeopleClient({ url: server.url, token: agent }).status())
    assert.match(
      kind.text,
      /refuses the token: this token is for an agent; make one for people: vmapipe fleet token new/,
    )
  })

  test('is given no token without TLS, unless it is on this machine', () => {
    const cases: [url: string, error: RegExp][] = [
      ['http://planner.example:8460', /^the token would go to planner\.example:8460 unencrypted; use https:/],
      ['http://192.168.1.2', /unencrypted/],
      ['planner.example:8460', /is no address of a planner; write it as https:/],
      ['file:///etc/passwd', /is no address of a planner/],
      ['https://a:b@planner.example', /has no user and no password/],
      ['https://planner.example/?x', /is no address of a planner/],
    ]
    for (const [url, error] of cases)
      assert.throws(
        () => new Transport({ url, token: 'x' }),
        (found: VmapipeError) => found.code === 'USAGE' && error.test(found.text),
        url,
      )
    for (const url of ['http://127.0.0.1:1', 'http://[::1]:1', 'http://localhost:1']) new Transport({ url, token: 'x' })
  })

  test('has a certificate that is not accepted, and the reason is told', needs('openssl'), async (t) => {
    const dir = tmpDir(t)
    const authority = makeAuthority(dir)
    const other = makeAuthority(dir, 'other')
    const ca = readFileSync(authority.ca, 'utf8')
    const asked = async (names: string, caText?: string) => {
      const { server, person } = await served(t, { tls: authority.issue('x', { names }) })
      return new PeopleClient({ url: server.url, token: person, ...(caText !== undefined && { ca: caText }) }).status()
    }
    assert.ok(await asked('IP:127.0.0.1', ca))
    assert.match(
      (await failure(asked('IP:127.0.0.1'))).text,
      /^the certificate of the planner at https:\/\/127.* is not accepted: its authority is not known here; give the certificate .* --ca FILE$/,
    )
    assert.match(
      (await failure(asked('IP:127.0.0.1', readFileSync(other.ca, 'utf8')))).text,
      /is not known here|its signature is wrong/,
    )
    assert.match(
      (await failure(asked('DNS:planner.example', ca))).text,
      /it is for another name; use a name that is in the certificate$/,
    )
    const { port } = await served(t)
    const plain = new PeopleClient({ url: `https://127.0.0.1:${port}`, token: 'x' })
    assert.match(
      (await failure(plain.status())).text,
      /does not speak TLS; a planner on loopback may listen for http:\/\/$/,
    )
  })

  test('is something else: pages, redirects, endless and wrong answers', async (t) => {
    const answers: [RequestListener, RegExp][] = [
      [(_, response) => response.end('<html>'), /is no planner: its answer is no JSON/],
      [(_, response) => response.end('[]'), /is not that of a planner of this version/],
      [(_, response) => response.writeHead(404).end('<html>'), /is no planner: it answers 404; is the address right\?/],
      [(_, response) => response.writeHead(500).end('{"error":7}'), /is no planner: it answers 500/],
      [
        (_, response) => response.writeHead(302, { location: 'https://elsewhere.example/' }).end(),
        /redirects elsewhere; name the address of the planner itself/,
      ],
      [(_, response) => response.end('['.repeat(100_000)), /is no planner/],
      [
        (_, response) => {
          response.writeHead(200, { 'content-length': '1000' })
          response.write('{')
          setImmediate(() => response.destroy())
        },
        /^the connection to the planner at .* broke: /,
      ],
      [(request) => request.socket.destroy(), /^the connection to the planner at .* broke: /],
      [
        (_, response) => response.writeHead(400).end(JSON.stringify({ error: 'a\u001b[2J\nb', hint: '\r' })),
        /^a\\u\{1b\}\[2J\\u\{a\}b; \\u\{d\}$/,
      ],
    ]
    for (const [listener, error] of answers) {
      const url = await answering(t, listener)
      assert.match((await failure(new PeopleClient({ url, token: 'x' }).status())).text, error)
    }
    const silent = await answering(t, () => {})
    const transport = new Transport({ url: silent, token: 'x' })
    const asked = transport.ask({ method: 'GET', path: '/', timeout: 50 })
    assert.match((await failure(asked)).text, /^the planner at .* does not answer$/)
  })

  test('is not waited for after the user has given up', async (t) => {
    const url = await answering(t, () => {})
    const ended = new AbortController()
    const asked = new PeopleClient({ url, token: 'x' }, { signal: ended.signal }).status()
    const reason = new VmapipeError('ABORTED', 'interrupted')
    setImmediate(() => ended.abort(reason))
    assert.equal(await failure(asked), reason)
  })
})

async function answering(t: TestContext, listener: RequestListener): Promise<string> {
  const server = createServer(listener)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => {
    server.close()
    server.closeAllConnections()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}
