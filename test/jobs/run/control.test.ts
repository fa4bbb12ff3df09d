import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, createServer, Socket } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import { askAt } from '../../../src/jobs/run/control.ts'
import { tmpDir } from '../../support/tmp.ts'

test('a run that ends just as it is asked has not answered, and harms nobody', { timeout: 60_000 }, async (t) => {
  const path = join(tmpDir(t), 'run.sock')
  const server = createServer((socket) => socket.destroy()).listen(path)
  t.after(() => server.close())
  await once(server, 'listening')
  await once(connect(path), 'close')
  // The question finds the connection closed already.
  const { write } = Socket.prototype
  t.after(() => Object.assign(Socket.prototype, { write }))
  Socket.prototype.write = function () {
    this.destroy(Object.assign(new Error('write EPIPE'), { code: 'EPIPE' }))
    return false
  }
  await assert.rejects(askAt(path, 'nightly', { ask: 'status' }), { code: 'FAILED', message: /has not answered/ })
})
