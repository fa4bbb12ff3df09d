import assert from 'node:assert/strict'
import { createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { Budget } from '../../../src/core/budget.ts'
import { ArchiveResponse } from '../../../src/live/control/archive-response.ts'
import { seeded } from '../../support/random.ts'
import { tmpDir } from '../../support/tmp.ts'

const timeout = 60_000

const HEAD = 'HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nTransfer-Encoding: chunked\r\n\r\n'
const END = '0\r\nVmapipe-Outcome: complete\r\n\r\n'

/** A service that answers with `send`; gives the path of its socket and what it was asked. */
async function service(t: TestContext, send: (socket: Socket) => unknown) {
  const path = join(tmpDir(t), 'ctl')
  const asked: string[] = []
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    socket.once('data', (data) => {
      asked.push(data.toString())
      send(socket)
    })
  })
  await new Promise<void>((resolve) => server.listen(path, resolve))
  t.after(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return { path, asked }
}

async function ask(path: string, signal?: AbortSignal): Promise<ArchiveResponse> {
  const answer = await ArchiveResponse.request(path, '/backup', '{}', signal)
  assert.ok(answer instanceof ArchiveResponse)
  return answer
}

async function everything(response: ArchiveResponse, budget = new Budget(16 << 20)): Promise<Buffer> {
  const parts: Uint8Array[] = []
  for (let chunk = await response.read(budget); chunk !== null; chunk = await response.read(budget)) {
    parts.push(...chunk.buffers.map((bytes) => Buffer.from(bytes)))
    chunk.release()
  }
  assert.equal(budget.used, 0)
  return Buffer.concat(parts)
}

function chunked(...parts: (Buffer | string)[]): Buffer {
  return Buffer.concat(
    parts.flatMap((part) => [Buffer.from(`${part.length.toString(16)}\r\n`), Buffer.from(part), Buffer.from('\r\n')]),
  )
}

function noise(length: number, seed: number): Buffer {
  const random = seeded(seed)
  return Buffer.from(Array.from({ length }, () => Math.floor(random() * 256)))
}

describe('the archive out of a response', { timeout }, () => {
  test('is what the chunks hold, however the bytes arrive', async (t) => {
    const parts = [1, 17, 4096, 70_000, 3, 300_000].map((length, index) => noise(length, index + 1))
    const bytes = Buffer.concat([Buffer.from(HEAD), chunked(...parts), Buffer.from(END)])
    const random = seeded(9)
    const { path, asked } = await service(t, async (socket) => {
      for (let at = 0; at < bytes.length; ) {
        const end = at + 1 + Math.floor(random() ** 6 * 200_000)
        await new Promise((resolve) => socket.write(bytes.subarray(at, end), resolve))
        at = end
        if (random() < 0.2) await sleep(1)
      }
      socket.end()
    })
    assert.ok((await everything(await ask(path))).equals(Buffer.concat(parts)))
    assert.match(asked[0], /^POST \/backup HTTP\/1\.1\r\n(?:.+\r\n)*Content-Length: 2\r\n/)
  })

  test('comes byte by byte too, with extensions and trailers that nobody knows', async (t) => {
    const answer = `${HEAD}5;a=b\r\nhello\r\n6 ;x\r\n world\r\n0\r\nX-Other: 1\r\nvmapipe-outcome:complete \r\n\r\n`
    const { path } = await service(t, async (socket) => {
      for (const byte of answer) await new Promise((resolve) => socket.write(byte, resolve))
    })
    assert.equal((await everything(await ask(path))).toString(), 'hello world')
  })

  test('is never taken for whole where it is cut, wherever that is', async (t) => {
    const answer = Buffer.concat([Buffer.from(HEAD), chunked('some', 'bytes'), Buffer.from(END)])
    for (let length = HEAD.length; length < answer.length; length++) {
      const { path } = await service(t, (socket) => socket.end(answer.subarray(0, length)))
      await assert.rejects(async () => everything(await ask(path)), { code: 'FAILED', message: /broke off before/ })
    }
  })

  test('is incomplete where the service does not say that it is whole', async (t) => {
    for (const end of ['0\r\n\r\n', '0\r\nVmapipe-Outcome: complete?\r\n\r\n']) {
      const { path } = await service(t, (socket) => socket.write(`${HEAD}${chunked('x')}${end}`))
      await assert.rejects(async () => everything(await ask(path)), { code: 'INCOMPLETE' })
    }
  })

  for (const [what, answer] of Object.entries({
    'no HTTP': 'VMA\0\r\n\r\n',
    'an answer without chunks': 'HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nVMA',
    'a chunk without a size': `${HEAD}\r\nxyz\r\n`,
    'a negative size': `${HEAD}-5\r\nhello\r\n${END}`,
    'a size larger than any': `${HEAD}${'f'.repeat(17)}\r\n`,
    'a chunk that is longer than it says': `${HEAD}3\r\nhello\r\n${END}`,
    'a line without end': `${HEAD}5;${'x'.repeat(10_000)}`,
    'headers without end': `HTTP/1.1 200 OK\r\n${'a: b\r\n'.repeat(200)}`,
    'a header without a name': `HTTP/1.1 200 OK\r\n: chunked\r\n\r\n`,
  })) {
    test(`is refused: ${what}`, async (t) => {
      const { path } = await service(t, (socket) => socket.write(answer))
      await assert.rejects(
        async () => everything(await ask(path)),
        (error: any) =>
          error.code === 'FAILED' && /not that of a service/.test(error.line) && error.line.includes(path),
      )
    })
  }

  test('takes no more of the budget than there is, and no more from the service than is read', async (t) => {
    const sent = { bytes: 0 }
    const piece = chunked(Buffer.alloc(1 << 20))
    const { path } = await service(t, async (socket) => {
      socket.write(HEAD)
      for (let count = 0; count < 32; count++) {
        if (!socket.write(piece)) await new Promise((resolve) => socket.once('drain', resolve))
        sent.bytes += piece.length
      }
      socket.write(END)
    })
    const response = await ask(path)
    const budget = new Budget(16 << 20)
    const first = await response.read(budget)
    await sleep(100)
    assert.ok(sent.bytes < 4 << 20, `${sent.bytes} bytes went into a response that nobody reads`)
    first!.release()
    assert.equal((await everything(response, budget)).length + first!.byteLength, 32 << 20)
    assert.ok(budget.highWater <= 1 << 20)
  })

  test('ends at once when it is aborted or closed, also while it waits', async (t) => {
    const { path } = await service(t, (socket) => socket.write(`${HEAD}5\r\nhe`))
    const controller = new AbortController()
    const budget = new Budget(16 << 20)
    const aborted = (await ask(path, controller.signal)).read(budget)
    setTimeout(() => controller.abort(), 20)
    await assert.rejects(aborted, { code: 'ABORTED' })
    const response = await ask(path)
    setTimeout(() => response.close(), 20)
    await assert.rejects(response.read(budget), { code: 'ABORTED', message: 'closed' })
    assert.equal(budget.used, 0)
    await assert.rejects(ask(path, controller.signal), { code: 'ABORTED' })
  })
})

describe('an answer that is no archive', { timeout }, () => {
  test('is given with what it says', async (t) => {
    const { path } = await service(t, (socket) => {
      socket.write('HTTP/1.1 409 Conflict\r\nContent-Length: 15\r\n\r\n{"error":"busy"}')
    })
    const answer = await ArchiveResponse.request(path, '/backup', '{}')
    assert.deepEqual(answer, { status: 409, text: '{"error":"busy"' })
  })

  test('is not waited for where it is absurdly long', async (t) => {
    const { path } = await service(t, (socket) => {
      socket.write('HTTP/1.1 500 No\r\nContent-Length: 99999999999\r\n\r\n')
    })
    assert.deepEqual(await ArchiveResponse.request(path, '/backup', '{}'), { status: 500, text: '' })
  })

  test('is an error where nobody listens', async (t) => {
    const path = join(tmpDir(t), 'ctl')
    await assert.rejects(ArchiveResponse.request(path, '/backup', '{}'), { code: 'FAILED', hint: /serve --control/ })
  })
})
