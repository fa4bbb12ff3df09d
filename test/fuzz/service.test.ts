import assert from 'node:assert/strict'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { after } from 'node:test'
import fc from 'fast-check'
import { Budget } from '../../src/core/budget.ts'
import { VmapipeError } from '../../src/core/errors.ts'
import { ControlClient } from '../../src/live/control/client.ts'
import { tmpDir } from '../support/tmp.ts'
import { attempt, fuzz } from './fuzz.ts'
import { mutate, mutations } from './mutation.ts'

const path = join(tmpDir({ after }), 'control')

/** What the service answers to everything. */
let answer: Buffer = Buffer.alloc(0)
let step = 1
const server = createServer((socket) => {
  socket.on('error', () => {})
  socket.once('data', () => {
    for (let at = 0; at < answer.length; at += step) socket.write(answer.subarray(at, at + step))
    socket.end()
  })
})
await new Promise<void>((resolve) => server.listen(path, resolve))
after(() => server.close())

const HEAD = 'HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nTransfer-Encoding: chunked\r\n\r\n'
const END = '0\r\nVmapipe-Outcome: complete\r\n\r\n'
const chunk = (length: number) => `${length.toString(16)}\r\n${'x'.repeat(length)}\r\n`
const bodies = fc.array(fc.constantFrom(1, 1, 17, 4096, 70_000, 300_000), { maxLength: 6 })
/** Very small pieces are many. */
const dust = fc.constantFrom(0, 0, 0, 20_000)

const archive = fc.record({
  bodies,
  dust,
  changes: mutations([0, 9, 20, 90, 92, 94], 3),
  step: fc.constantFrom(1 << 20, 4096),
})

fuzz('a service that says something else than it should gives no archive', archive, async (input) => {
  step = input.step
  const text = [HEAD, ...input.bodies.map(chunk), chunk(1).repeat(input.dust), END].join('')
  answer = mutate(Buffer.from(text), input.changes)
  const budget = new Budget(16 << 20)
  const read = async () => {
    const response = await new ControlClient(path).backup({})
    try {
      for (let part = await response.read(budget); part !== null; part = await response.read(budget)) part.release()
    } finally {
      response.close()
    }
  }
  await attempt(read, 'FAILED', 'INCOMPLETE', 'USAGE')
  assert.equal(budget.used, 0)
})

const STATUS = '{"drives": [{"name": "a", "size": 65536}], "backup": null}'
const status = `HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: ${STATUS.length}\r\n\r\n${STATUS}`

fuzz('a service that answers nonsense has no status', mutations([0, 9, 60, 70, 80], 3), async (changes) => {
  step = 1 << 20
  answer = mutate(Buffer.from(status), changes)
  const result = await attempt(() => new ControlClient(path).status(), 'FAILED', 'USAGE')
  assert.ok(result instanceof VmapipeError || typeof result === 'object')
})
