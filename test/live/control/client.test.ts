import assert from 'node:assert/strict'
import { createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { ControlClient } from '../../../src/live/control/client.ts'
import { tmpDir } from '../../support/tmp.ts'

/** A client of somebody who answers everything with these bytes, and hangs up. */
async function clientOf(t: TestContext, answer: string): Promise<ControlClient> {
  const path = join(tmpDir(t), 'control')
  const server = createServer((socket) => {
    socket.on('error', () => {})
    socket.once('data', () => socket.end(answer))
  })
  await new Promise<void>((resolve) => server.listen(path, resolve))
  t.after(() => server.close())
  return new ControlClient(path)
}

describe('a client of a service', { timeout: 180_000 }, () => {
  const json = (length: number, text: string) => `HTTP/1.1 200 OK\r\nContent-Length: ${length}\r\n\r\n${text}`
  for (const [what, answer] of [
    ['that breaks off', json(100, '{"drives"')],
    ['that sends no JSON', json(4, 'soon')],
    ['that sends no object', json(2, '17')],
    ['that is none', 'SSH-2.0-OpenSSH_9.2\r\n'],
  ]) {
    test(`${what} fails in one line that names the socket`, async (t) => {
      const client = await clientOf(t, answer)
      await assert.rejects(client.status(), (error: any) => {
        assert.equal(error.code, 'FAILED')
        assert.match(error.line, /\(file .*control\)$/)
        return true
      })
    })
  }

  test('does not wait for an answer any more when it is aborted', { timeout: 60_000 }, async (t) => {
    const path = join(tmpDir(t), 'control')
    const sockets: Socket[] = []
    const server = createServer((socket) => void sockets.push(socket.on('error', () => {})))
    await new Promise<void>((resolve) => server.listen(path, resolve))
    t.after(() => {
      for (const socket of sockets) socket.destroy()
      server.close()
    })
    const client = new ControlClient(path)
    const signal = AbortSignal.timeout(50)
    await assert.rejects(client.backup({}, signal), { code: 'ABORTED' })
  })
})
