import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { gzipSync } from 'node:zlib'
import { parseJsonText } from '../../../src/fleet/messages/json-text.ts'
import { LIMITS } from '../../../src/fleet/server/limits.ts'
import { until } from '../../storage/archive/processes.ts'
import { HELLO, INVENTORY, rawConnection, served } from './served.ts'

const limits = { timeout: 120_000 }
const MiB = 1 << 20

describe('a body', limits, () => {
  const bodies: [what: string, body: Buffer, error: RegExp][] = [
    ['nothing', Buffer.alloc(0), /no JSON/],
    ['no JSON', Buffer.from('{"protocol":'), /^this is no JSON: /],
    ['two values', Buffer.from('{}{}'), /^this is no JSON: /],
    ['NUL bytes', Buffer.alloc(1000), /^this is no JSON: /],
    ['no UTF-8', Buffer.from([0x22, 0xff, 0xfe, 0x22]), /^this is no UTF-8$/],
    ['lists in lists', Buffer.from('['.repeat(500_000)), /nested deeper than 64 levels/],
    ['maps in maps', Buffer.from('{"a":'.repeat(100_000)), /nested deeper than 64 levels/],
    ['a string without end', Buffer.from(`"${'\\"'.repeat(1000)}`), /^this is no JSON: /],
  ]
  for (const [what, body, error] of bodies) {
    test(`of ${what} is refused in one line, and the next message is taken`, limits, async (t) => {
      const { ask } = await served(t)
      const answer = await ask('/agent/v1/hello', { method: 'POST', body })
      assert.equal(answer.status, 400)
      assert.match(answer.json.error, error)
      assert.doesNotMatch(answer.json.error, /\n/)
      assert.ok(answer.json.error.length <= 1000)
      assert.equal((await ask('/agent/v1/hello', { body: HELLO })).status, 200)
    })
  }

  test(
    'that is too long is refused by its length, and if it comes in chunks as soon as it is too long',
    limits,
    async (t) => {
      const { ask, port, agent } = await served(t)
      for (const [path, bytes] of [
        ['hello', MiB],
        ['beat', MiB],
        ['inventory', 32 * MiB],
        ['events', 32 * MiB],
      ] as const) {
        const { socket, text } = await rawConnection(port)
        socket.write(
          `POST /agent/v1/${path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${agent}\r\nContent-Length: ${bytes + 1}\r\n\r\n`,
        )
        await until(() => text().startsWith('HTTP/1.1 413'), `${path} is refused before anything has come`)
        socket.destroy()
      }
      const { socket, text, closed } = await rawConnection(port)
      socket.write(
        `POST /agent/v1/hello HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${agent}\r\nTransfer-Encoding: chunked\r\n\r\n`,
      )
      const chunk = Buffer.concat([Buffer.from('10000\r\n'), Buffer.alloc(0x10000, ' '), Buffer.from('\r\n')])
      let sent = 0
      for (; !text().startsWith('HTTP/1.1 413') && sent < 64 * MiB && !socket.destroyed; sent += 0x10000) {
        socket.write(chunk)
        await new Promise(setImmediate)
      }
      await closed
      assert.match(text(), /^HTTP\/1\.1 413/)
      assert.ok(sent < 64 * MiB)
      assert.equal((await ask('/agent/v1/hello', { body: HELLO })).status, 200)
    },
  )

  test('of 20 MiB is an inventory', limits, async (t) => {
    const { ask, fleet } = await served(t)
    const guest = {
      ...{ source: 'libvirt::x', identity: null, running: true, jobs: ['nightly'], lastGood: null },
      ...{ size: 1, seconds: null, stored: null },
    }
    const guests = Array.from({ length: 20_000 }, (_, at) => ({ ...guest, name: `${at}`.padEnd(250, 'é') }))
    const answer = await ask('/agent/v1/inventory', { body: { ...INVENTORY, guests } })
    assert.equal(answer.status, 200, answer.text)
    assert.equal((fleet.calls.at(-1)!.args[1] as { guests: unknown[] }).guests.length, 20_000)
  })

  test('of millions of empty lists is refused before they are made', limits, async (t) => {
    const { ask } = await served(t)
    const body = Buffer.from(`[${'[],'.repeat(3_000_000)}[]]`)
    const answer = await ask('/agent/v1/inventory', { method: 'POST', body })
    assert.deepEqual([answer.status, answer.json.error], [400, 'this JSON has more than 2000000 values'])
  })

  test('that is compressed is refused, as it could become very large', limits, async (t) => {
    const { ask } = await served(t)
    for (const encoding of ['gzip', 'deflate', 'br', 'zstd', 'gzip, gzip']) {
      const body = gzipSync(JSON.stringify(HELLO))
      const answer = await ask('/agent/v1/hello', { body, headers: { 'content-encoding': encoding } })
      assert.equal(answer.status, 415, encoding)
    }
  })

  test('changes no prototype, however the key is written', limits, async (t) => {
    const { ask, fleet } = await served(t)
    const report =
      '{"__proto__":{"polluted":1},"a":{"\\u005f\\u005fproto__":{"polluted":1}},"constructor":{"prototype":{"polluted":1}}}'
    const ended = `{"id":"e1","at":"2026-11-29T00:00:00Z","event":"ended","work":null,"job":"n","run":"r","guest":"__proto__","started":"2026-11-29T00:00:00Z","outcome":"done","report":${report},"__proto__":{"outcome":"failed"}}`
    const body = Buffer.from(`{"events":[${ended}],"__proto__":{"events":[]}}`)
    assert.equal((await ask('/agent/v1/events', { method: 'POST', body })).status, 200)
    const [event] = fleet.calls.at(-1)!.args[1] as { report: Record<string, object>; guest: string }[]
    assert.equal(event.guest, '__proto__', 'a guest may have this name')
    for (const one of [{}, event, event.report, event.report.a, Object.assign({}, event.report, event.report.a)]) {
      assert.equal((one as { polluted?: number }).polluted, undefined)
      assert.ok(!Object.hasOwn(one, '__proto__'))
    }
  })

  test('that is right JSON stays what it is', () => {
    const value = { a: [1, 'x\\"[{', null, true, { b: '\u2028\ud83d\ude00' }], c: {}, d: [[[]]], '': ',,,' }
    assert.deepEqual(parseJsonText(Buffer.from(JSON.stringify(value))), value)
  })
})

describe('a client', limits, () => {
  test('that speaks no HTTP, or wrong HTTP, harms nobody', limits, async (t) => {
    const { ask, port, agent } = await served(t)
    const heads = [
      '\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03',
      'SSH-2.0-OpenSSH_9.2\r\n',
      'GET / HTTP/9.9\r\n\r\n',
      'POST /agent/v1/hello HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
      'POST /agent/v1/hello HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n',
      `GET / HTTP/1.1\r\nHost: x\r\nX: ${'y'.repeat(20_000)}\r\n\r\n`,
      'GET / HTTP/1.1\r\n\r\n',
      'GET \\..\\etc HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n',
      'GET /%2e%2e/agent/v1/hello HTTP/1.1\r\nHost: a b\r\nConnection: close\r\n\r\n',
      `GET //agent/v1//hello HTTP/1.1\r\nHost: [::1\r\nAuthorization: Bearer ${agent}\r\nConnection: close\r\n\r\n`,
      `GET /people/v1/status HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade, close\r\n\r\n`,
      `OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`,
      `TRACE /agent/v1/hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`,
      'CONNECT example.org:443 HTTP/1.1\r\nHost: example.org\r\n\r\n',
    ]
    for (const head of heads) {
      const { socket, text, closed } = await rawConnection(port)
      socket.on('error', () => {})
      socket.end(head)
      await closed
      assert.match(text(), /^(HTTP\/1\.1 4\d\d |$)/, head.slice(0, 50))
    }
    assert.equal((await ask('/agent/v1/hello', { body: HELLO })).status, 200)
  })

  test('that goes away in the middle of a message leaves no trace', limits, async (t) => {
    const { ask, port, agent, fleet, warnings } = await served(t)
    for (let time = 0; time < 50; time++) {
      const { socket } = await rawConnection(port)
      socket.write(
        `POST /agent/v1/inventory HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${agent}\r\nContent-Length: 30000000\r\n\r\n{"at":`,
      )
      const checks = () => fleet.calls.length
      await until(() => checks() === time + 1, 'its token is checked')
      socket.destroy()
    }
    // Sixteen requests at once are let in: these have ended.
    while ((await ask('/agent/v1/beat', { body: {} })).status !== 400) await new Promise(setImmediate)
    assert.deepEqual(warnings, [])
  })

  test('that sends its headers or its message too slowly is hung up on', { timeout: 60_000 }, async (t) => {
    // The times are those of Node's own server; they are made short, and what they are is asserted.
    assert.deepEqual([LIMITS.headersTimeout, LIMITS.requestTimeout], [10_000, 120_000])
    const { server, port, agent } = await served(t)
    const [http] = server.servers
    http.headersTimeout = 300
    http.requestTimeout = 600
    const silent = await rawConnection(port)
    const headers = await rawConnection(port)
    const body = await rawConnection(port)
    for (const { socket } of [silent, headers, body]) socket.on('error', () => {})
    body.socket.write(
      `POST /agent/v1/hello HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${agent}\r\nContent-Length: 1000\r\n\r\n`,
    )
    headers.socket.write('POST /agent/v1/hello HTTP/1.1\r\n')
    const drip = setInterval(() => {
      if (!headers.socket.destroyed) headers.socket.write('X: y\r\n')
      if (!body.socket.destroyed) body.socket.write(' ')
    }, 50)
    t.after(() => clearInterval(drip))
    await Promise.all([silent.closed, headers.closed, body.closed])
    assert.match(headers.text(), /^HTTP\/1\.1 408 /)
    assert.match(body.text(), /408|^$/)
  })

  test('may wait for work longer than its message may take', { timeout: 60_000 }, async (t) => {
    const { ask, server, fleet } = await served(t)
    const [http] = server.servers
    http.headersTimeout = 200
    http.requestTimeout = 200
    const waiting = ask('/agent/v1/work', { body: { free: 1, wait: 5000 } })
    await until(() => fleet.waiting.has('h1'), 'it waits')
    assert.deepEqual((await waiting).json, { works: [] })
  })
})
