import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { PassThrough, Readable } from 'node:stream'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { Budget } from '../../../src/core/budget.ts'
import { archiveSource } from '../../../src/storage/archive/source.ts'
import { tmpDir } from '../../support/tmp.ts'
import { needs } from '../../support/tools.ts'
import { outcome, shellCopy, startCopy } from './processes.ts'
import { numbered, readAll } from './reading.ts'

const MIB = 1 << 20

test('standard input that is a pipe is read whole, in whatever pieces it comes', { timeout: 60_000 }, async (t) => {
  const dir = tmpDir(t)
  writeFileSync(join(dir, 'in'), numbered(9 * MIB + 13))
  for (const feed of ['cat in', 'head -c 100 in; sleep 0.2; tail -c +101 in', 'dd if=in bs=4097 2>/dev/null']) {
    const { code, stderr } = await shellCopy(`cd '${dir}'; { ${feed}; } | $COPY - out && cmp in out && rm out`)
    assert.deepEqual({ code, stderr }, { code: 0, stderr: '' }, feed)
  }
})

test('an empty pipe is an empty archive', { timeout: 60_000 }, async (t) => {
  const dir = tmpDir(t)
  assert.equal((await shellCopy(`cd '${dir}'; true | $COPY - out && test -e out && ! test -s out`)).code, 0)
})

test('a terminal is refused as standard input', { ...needs('script'), timeout: 60_000 }, async (t) => {
  const dir = tmpDir(t)
  const { stderr } = await shellCopy(`cd '${dir}'; script -qec "$COPY - out" typescript </dev/null >&2`)
  assert.match(stderr, /nobody can type an archive; redirect standard input/)
  assert.deepEqual(readdirSync(dir), ['typescript'])
})

test('SIGTERM ends a read that waits for a writer that does not write', { timeout: 60_000 }, async (t) => {
  const dir = tmpDir(t)
  const child = startCopy('-', join(dir, 'out'), { stdio: ['pipe', 'ignore', 'pipe'] })
  child.stdin!.write('some')
  while (readdirSync(dir).length === 0) await sleep(20)
  child.kill('SIGTERM')
  assert.equal((await outcome(child)).code, 130)
  assert.deepEqual(readdirSync(dir), [])
})

test('a process whose sink has failed does not wait for its standard input', { timeout: 60_000 }, async () => {
  const child = startCopy('-', '/dev/full', { stdio: ['pipe', 'ignore', 'pipe'] })
  child.stdin!.on('error', () => {})
  child.stdin!.write(Buffer.alloc(8 * MIB))
  const { code, stderr } = await outcome(child)
  assert.equal(code, 1)
  assert.match(stderr, /^sink: no space left/)
})

test('a FIFO waits for its writer', { timeout: 60_000 }, async (t) => {
  const fifo = join(tmpDir(t), 'fifo')
  execFileSync('mkfifo', [fifo])
  const source = archiveSource(fifo, { budget: new Budget(32 * MIB) })
  await source.open()
  const read = readAll(source)
  await sleep(100)
  const writer = spawn('/bin/sh', ['-c', `cat /bin/sh >'${fifo}'`])
  const ended = once(writer, 'exit')
  assert.ok((await read).equals(execFileSync('cat', ['/bin/sh'])))
  await ended
  await source.close()
})

test('a program that ends while nobody reads loses none of its output', { timeout: 60_000 }, async (t) => {
  const file = join(tmpDir(t), 'in')
  const all = numbered(160_000)
  writeFileSync(file, all)
  // A short piece first, so that the first slab ends within another one.
  const child = spawn('/bin/sh', ['-c', `head -c 1001 '${file}'; sleep 0.1; tail -c +1002 '${file}'`])
  const source = archiveSource(child.stdout, { budget: new Budget(MIB) })
  await source.open()
  const first = (await source.read())!
  const begin = Buffer.concat(first.buffers)
  first.release()
  if (child.exitCode === null) await once(child, 'exit')
  await sleep(50)
  assert.ok(Buffer.concat([begin, await readAll(source)]).equals(all))
  await source.close()
})

test('an abort ends a read at once, and gives the memory back', { timeout: 60_000 }, async () => {
  const controller = new AbortController()
  const budget = new Budget(32 * MIB)
  const source = archiveSource(new PassThrough(), { budget, signal: controller.signal })
  await source.open()
  const read = source.read()
  await sleep(10)
  controller.abort()
  await assert.rejects(read, { code: 'ABORTED' })
  await source.close()
  assert.equal(budget.used, 0)
})

test('small pieces of a stream are gathered, large ones are cut', async () => {
  const data = numbered(5 * MIB)
  const pieces = [data.subarray(0, 10), data.subarray(10, 10), data.subarray(10, 3 * MIB), data.subarray(3 * MIB)]
  const source = archiveSource(Readable.from(pieces, { objectMode: false }), { budget: new Budget(32 * MIB) })
  await source.open()
  const sizes = []
  const parts = []
  for (let chunk = await source.read(); chunk !== null; chunk = await source.read()) {
    sizes.push(chunk.byteLength)
    parts.push(Buffer.concat(chunk.buffers))
    chunk.release()
  }
  assert.deepEqual(sizes, [MIB, MIB, MIB, MIB, MIB])
  assert.ok(Buffer.concat(parts).equals(data))
})

test('a stream is not read faster than its bytes are taken', async () => {
  let given = 0
  const stream = new Readable({
    read() {
      given += 65536
      this.push(Buffer.alloc(65536))
    },
  })
  const source = archiveSource(stream, { budget: new Budget(32 * MIB) })
  await source.open()
  const chunk = await source.read()
  await sleep(50)
  assert.equal(chunk!.byteLength, MIB)
  assert.ok(given <= MIB + 4 * 65536, `${given} bytes were taken`)
  await source.close()
})

test('the error of a stream is the error of the read, as is an end without an end', async () => {
  const budget = new Budget(32 * MIB)
  const failing = new PassThrough()
  const first = archiveSource(failing, { budget })
  await first.open()
  failing.write('some')
  failing.destroy(new Error('tape torn'))
  await assert.rejects(first.read(), { code: 'FAILED', message: 'tape torn' })
  const vanishing = new PassThrough()
  const second = archiveSource(vanishing, { budget })
  await second.open()
  const read = second.read()
  vanishing.destroy()
  await assert.rejects(read, { code: 'FAILED', message: 'the stream was closed before its end' })
  assert.equal(budget.used, 0)
})

test('a stream that has ended or was destroyed before is told apart', async () => {
  const ended = Readable.from([])
  ended.resume()
  await once(ended, 'end')
  const empty = archiveSource(ended, { budget: new Budget(MIB) })
  await empty.open()
  assert.equal(await empty.read(), null)
  const destroyed = new PassThrough()
  destroyed.destroy()
  const gone = archiveSource(destroyed, { budget: new Budget(MIB) })
  await gone.open()
  await assert.rejects(gone.read(), { message: 'the stream was closed before its end' })
})

test('a stream of anything but bytes is refused', async () => {
  const text = new PassThrough({ encoding: 'utf8' })
  const source = archiveSource(text, { budget: new Budget(MIB) })
  await source.open()
  text.end('text')
  await assert.rejects(source.read(), { code: 'USAGE', message: /gives strings/ })
  await source.close()
})
