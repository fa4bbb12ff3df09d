import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { PassThrough, Writable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { archiveTarget } from '../../../src/storage/archive/target.ts'
import { tmpDir } from '../../support/tmp.ts'
import { needs } from '../../support/tools.ts'
import { shellCopy, startCopy, until } from './processes.ts'

const MIB = 1 << 20

test('a pipe gets every byte, whatever its reader is like', { timeout: 60_000 }, async (t) => {
  const dir = tmpDir(t)
  const data = Buffer.alloc(5 * MIB, 'archive bytes ')
  writeFileSync(join(dir, 'in'), data)
  const { code, stderr } = await shellCopy(`cd '${dir}'; $COPY in - | { sleep 0.2; cat; } | cmp - in`)
  assert.deepEqual({ code, stderr }, { code: 0, stderr: '' })
})

test('a reader that goes away is a clear error with exit code 1', { timeout: 60_000 }, async () => {
  const { stderr } = await shellCopy('{ $COPY /dev/zero -; echo "exit $?" >&2; } | head -c 1 >/dev/null')
  assert.equal(stderr, 'sink: the reader of standard output closed it before the archive was complete\nexit 1\n')
})

test('the commands that share our standard output can still write to it', { timeout: 60_000 }, async () => {
  // A pipe that was left with O_NONBLOCK would make this `head` fail as soon as it is full.
  const { code, stderr } = await shellCopy(
    '{ $COPY /bin/sh -; head -c 3000000 /dev/zero; } | { sleep 1; cat; } | wc -c | { read -r n; test "$n" -gt 3000000; }',
  )
  assert.deepEqual({ code, stderr }, { code: 0, stderr: '' })
})

test('a terminal is refused as standard output', { ...needs('script'), timeout: 60_000 }, async (t) => {
  const dir = tmpDir(t)
  const { stderr } = await shellCopy(`cd '${dir}'; script -qec "$COPY /bin/sh -" typescript </dev/null >&2`)
  assert.match(stderr, /standard output is a terminal, and an archive is not text; redirect standard output/)
})

test('SIGTERM ends a write that waits for a reader that does not read', { timeout: 60_000 }, async () => {
  const child = startCopy('/dev/zero', '-', { stdio: ['ignore', 'pipe', 'pipe'] })
  await once(child.stdout!, 'readable')
  await sleep(200)
  child.kill('SIGTERM')
  const [code] = await once(child, 'exit')
  assert.equal(code, 130)
})

test('a FIFO waits for its reader, gets the bytes, and stays a FIFO', { timeout: 60_000 }, async (t) => {
  const dir = tmpDir(t)
  const fifo = join(dir, 'fifo')
  execFileSync('mkfifo', [fifo])
  const target = archiveTarget(fifo)
  const opened = target.open()
  await sleep(100)
  const reader = spawn('cat', [fifo], { stdio: ['ignore', 'pipe', 'inherit'] })
  const read = buffer(reader.stdout)
  await opened
  const data = Buffer.alloc(3 * MIB, 'abc')
  await target.write([data.subarray(0, 7), data.subarray(7)])
  await target.finish()
  assert.ok((await read).equals(data))
  assert.deepEqual(readdirSync(dir), ['fifo'])
})

test('an abort ends the wait for a reader of a FIFO', { timeout: 60_000 }, async (t) => {
  const fifo = join(tmpDir(t), 'fifo')
  execFileSync('mkfifo', [fifo])
  const controller = new AbortController()
  const opened = archiveTarget(fifo, { signal: controller.signal }).open()
  setTimeout(() => controller.abort(), 100)
  await assert.rejects(opened, { name: 'AbortError' })
})

test('a stream of the caller gets all of the bytes, and is ended', async () => {
  const stream = new PassThrough({ highWaterMark: 1000 })
  const target = archiveTarget(stream)
  await target.open()
  const read = buffer(stream)
  await target.write([Buffer.alloc(5000, 'x')])
  await target.write([Buffer.alloc(5000, 'y')])
  await target.finish()
  assert.equal((await read).toString(), 'x'.repeat(5000) + 'y'.repeat(5000))
})

test('a stream of the caller may keep what it gets, whatever becomes of our memory', { timeout: 60_000 }, async () => {
  const kept: Buffer[] = []
  const keeping = new Writable({
    write(chunk, _, done) {
      kept.push(chunk)
      done()
    },
  })
  const passing = new PassThrough()
  for (const stream of [keeping, passing]) {
    const target = archiveTarget(stream)
    await target.open()
    const bytes = Buffer.alloc(1000, 'a')
    await target.write([bytes.subarray(0, 500), bytes.subarray(500)])
    bytes.fill('b')
    await target.finish()
  }
  assert.equal(Buffer.concat(kept).toString(), 'a'.repeat(1000))
  assert.equal((await buffer(passing)).toString(), 'a'.repeat(1000))
})

test('a stream of the caller still has what is read from it later', async () => {
  const stream = new PassThrough({ highWaterMark: 1 << 20 })
  const target = archiveTarget(stream)
  await target.open()
  await target.write([Buffer.alloc(500_000, 'x')])
  await target.finish()
  await target.abort()
  assert.equal((await buffer(stream)).length, 500_000)
})

test('a write waits until the stream of the caller has taken it', async () => {
  const waiting: (() => void)[] = []
  const stream = new Writable({ write: (_chunk, _encoding, done) => void waiting.push(done) })
  const target = archiveTarget(stream)
  await target.open()
  let isWritten = false
  const written = target.write([Buffer.from('x')]).then(() => {
    isWritten = true
  })
  await sleep(20)
  assert.equal(isWritten, false)
  waiting.shift()!()
  await written
})

test('an error of the stream of the caller is the error of the write', async () => {
  const stream = new Writable({ write: (_chunk, _encoding, done) => done(new Error('tape torn')) })
  const target = archiveTarget(stream)
  await target.open()
  await assert.rejects(target.write([Buffer.from('x')]), { code: 'FAILED', message: 'tape torn' })
  await target.abort()
})

test('a stream of the caller that was destroyed does not count as written', async () => {
  const stream = new PassThrough()
  const target = archiveTarget(stream)
  await target.open()
  stream.destroy()
  await until(() => stream.closed, 'the stream is closed')
  await assert.rejects(target.write([Buffer.from('x')]), { code: 'FAILED' })
  await assert.rejects(target.finish(), { code: 'FAILED' })
})
