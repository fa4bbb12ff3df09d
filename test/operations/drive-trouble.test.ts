import assert from 'node:assert/strict'
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { CLUSTER_SIZE } from '../../src/core/geometry.ts'
import { DamagedArchive } from '../../src/operations/archive-report.ts'
import { backup } from '../../src/operations/backup.ts'
import { restore } from '../../src/operations/restore.ts'
import { NbdServer } from '../../src/protocol/nbd/server/server.ts'
import { MemoryDisk } from '../protocol/nbd/server/memory-disk.ts'
import { until } from '../storage/archive/processes.ts'
import { halfCompressible } from '../support/content.ts'
import { tmpDir } from '../support/tmp.ts'

const timeout = 120_000
const SIZE = 60 * CLUSTER_SIZE
const NAMES = ['a', 'b', 'c']
const CONTENT = NAMES.map((_, index) => halfCompressible(SIZE, index + 1))

async function made(t: TestContext): Promise<{ dir: string; bytes: Buffer }> {
  const dir = tmpDir(t)
  const drives = Object.fromEntries(NAMES.map((name) => [name, join(dir, `${name}.in`)]))
  for (const [index, name] of NAMES.entries()) writeFileSync(drives[name], CONTENT[index])
  await backup({ drives, to: join(dir, 'a.vma') })
  return { dir, bytes: readFileSync(join(dir, 'a.vma')) }
}

/** Somebody makes `a.raw` while it is restored, before the end of the archive is read. */
function appearing(bytes: Buffer, dir: string): Readable {
  return Readable.from(
    (async function* () {
      yield bytes.subarray(0, -1024)
      await until(() => readdirSync(dir).some((name) => name.startsWith('.a.raw.')), 'the drive is being written')
      writeFileSync(join(dir, 'a.raw'), 'theirs')
      yield bytes.subarray(-1024)
    })(),
  )
}

/** An NBD export that refuses all writes but the first two. */
async function failing(t: TestContext): Promise<string> {
  const disk = new MemoryDisk(SIZE)
  let writes = 0
  disk.before = async (call) => {
    if (call.startsWith('write') && ++writes > 2) throw Object.assign(new Error('no room'), { code: 'ENOSPC' })
  }
  const server = new NbdServer([{ name: '', disk }])
  const socket = join(tmpDir(t), 'nbd')
  await server.listenOnPath(socket)
  t.after(() => server.close({ grace: 0 }).catch(() => {}))
  return `nbd+unix:///?socket=${socket}`
}

const targets = (dir: string) => Object.fromEntries(NAMES.map((name) => [name, join(dir, `${name}.raw`)]))

function restored(dir: string): boolean[] {
  const is = (name: string, index: number) =>
    existsSync(join(dir, `${name}.raw`)) && readFileSync(join(dir, `${name}.raw`)).equals(CONTENT[index])
  return NAMES.map(is)
}

test('a drive that cannot get its name does not cost the others', { timeout }, async (t) => {
  const { dir, bytes } = await made(t)
  const from = appearing(bytes, dir)
  const warnings: string[] = []
  await assert.rejects(restore({ from, drives: targets(dir), warn: (line) => warnings.push(line) }), {
    code: 'FAILED',
    stage: 'cluster-writer',
    message: /has appeared meanwhile/,
  })
  assert.deepEqual(restored(dir), [false, true, true])
  assert.equal(readFileSync(join(dir, 'a.raw'), 'utf8'), 'theirs')
  assert.match(warnings.join(), /appeared meanwhile.*the other drives are restored/)
})

test('a drive whose target fails in the middle does not cost the others', { timeout }, async (t) => {
  const { dir, bytes } = await made(t)
  const drives = { ...targets(dir), b: await failing(t) }
  const warnings: string[] = []
  const job = restore({ from: Readable.from([bytes]), drives, warn: (line) => warnings.push(line) })
  await assert.rejects(job, { code: 'FAILED', stage: 'cluster-writer', message: /no space/ })
  assert.deepEqual(restored(dir), [true, false, true])
  assert.match(warnings.join(), /drive b.*the other drives are restored/)
})

test('when the last drive has failed the rest of the archive is not read', { timeout }, async (t) => {
  const { bytes } = await made(t)
  const drives = { a: await failing(t) }
  let read = 0
  const from = Readable.from(
    (async function* () {
      for (; read < bytes.length; read += 100_000) {
        yield bytes.subarray(read, read + 100_000)
        await sleep(10)
      }
    })(),
  )
  await assert.rejects(restore({ from, drives, buffer: 16 << 20 }), { code: 'FAILED', message: /no space/ })
  assert.ok(read < bytes.length)
})

test('of a damaged archive it is damage that is told, and the trouble too', { timeout }, async (t) => {
  const { dir, bytes } = await made(t)
  bytes[bytes.length - 200_000] ^= 1
  const from = appearing(bytes, dir)
  const error = await restore({ from, drives: targets(dir), salvage: true }).then(
    () => assert.fail('it was restored without a word'),
    (error) => error,
  )
  assert.ok(error instanceof DamagedArchive)
  assert.equal(error.exitCode, 3)
  assert.ok(error.lines.some((line) => /has appeared meanwhile.*drive a/.test(line)))
  assert.ok(existsSync(join(dir, 'b.raw')) && existsSync(join(dir, 'c.raw')))
})
