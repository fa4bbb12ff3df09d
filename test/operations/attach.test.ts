import assert from 'node:assert/strict'
import { once } from 'node:events'
import { chmodSync, existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { dirname, join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { NbdClient } from '../../src/protocol/nbd/client.ts'
import { LAUNCHER, oneLine, startCli, vmapipe } from '../cli/cli.ts'
import { assertArchive, keepCopy, MiB, makeDisk } from '../live/images.ts'
import { run } from '../live/programs.ts'
import { type Serving, serve } from '../live/serving.ts'
import { tmpDir } from '../support/tmp.ts'
import { lacking, needs } from '../support/tools.ts'

const limits = { timeout: 120_000 }

/** A look at the service takes a millisecond of two processes. */
const LOOK_MS = 20

const ROOT = join(import.meta.dirname, '../..')

async function served(t: TestContext, ...flags: string[]) {
  const dir = tmpDir(t)
  const disk = join(dir, 'disk')
  makeDisk(disk, 16 * MiB)
  return { dir, disk, serving: await serve(t, { 'drive-scsi0': disk }, flags), to: join(dir, 'out.vma') }
}

/** Waits until a backup runs. Without a limit of its rate it may soon be over: then there is no pause between two looks. */
async function begun(serving: Serving, isShort = false): Promise<void> {
  while ((await serving.status()).backup === null) if (!isShort) await sleep(LOOK_MS)
}

/** Nothing under the archive's name, nor under any other. */
function assertNothingIn(dir: string, ...expected: string[]): void {
  assert.deepEqual(readdirSync(dir).sort(), ['disk', ...expected].sort())
}

test(
  'brings the archive of a running guest, its config files too, to a file and to standard output',
  limits,
  async (t) => {
    const { dir, disk, serving, to } = await served(t)
    writeFileSync(join(dir, '100.conf'), 'name: guest\n')
    const attach = ['backup', '--attach', serving.control, '-c', `qemu-server.conf=${join(dir, '100.conf')}`]
    const configs = { 'qemu-server.conf': 'name: guest\n' }
    const file = await vmapipe([...attach, '-o', `${to}.zst`])
    assert.equal(file.code, 0, file.stderr)
    assert.match(file.stderr, /^INFO: .* backup of guest at .*, drive-scsi0 16\.0 MiB to .*\(zstd\)$/m)
    assert.match(file.stderr, /^INFO: .* point in time: \d{4}-\d\d-\d\dT/m)
    assert.match(file.stderr, /guest: 0\.0% of its clusters were copied .*, no write waited for the backup/)
    assert.match(file.stderr, /backup finished after .*, exit code 0\n$/)
    assert.match(file.stderr, /backed up 16\.0 MiB of 1 drive/)
    await assertArchive(t, `${to}.zst`, { 'drive-scsi0': disk }, configs)
    const pipe = await vmapipe([...attach, '-o', '-', '--quiet'])
    assert.deepEqual([pipe.code, pipe.stderr], [0, ''])
    await assertArchive(t, pipe.stdout, { 'drive-scsi0': disk }, configs)
  },
)

describe('brings the archive also where memory cannot be shared:', () => {
  const withoutCompiledCode = { NODE_OPTIONS: `--import ${join(ROOT, 'test/support/no-compiled-code.mjs')}` }

  test('in a container, whose processes have other numbers', { ...limits, ...needs('unshare') }, async (t) => {
    const { disk, serving, to } = await served(t)
    const backup = [process.execPath, LAUNCHER, 'backup', '--attach', serving.control, '--quiet', '-o', to]
    await run(t, 'unshare', ['--pid', '--fork', '--mount-proc', ...backup])
    await assertArchive(t, to, { 'drive-scsi0': disk })
    const { status } = await serving.ended()
    assert.equal(status.counters.archive, undefined, 'the service gave its clusters')
  })

  test('to another user', { ...limits, ...needs('setpriv') }, async (t) => {
    if (process.getuid!() !== 0) return lacking(t, 'only root may become another user')
    const { dir, disk, serving, to } = await served(t)
    chmodSync(dir, 0o777)
    chmodSync(dirname(serving.control), 0o755)
    chmodSync(serving.control, 0o666)
    const backup = [process.execPath, LAUNCHER, 'backup', '--attach', serving.control, '--quiet', '-o', to]
    await run(t, 'setpriv', ['--reuid=65534', '--regid=65534', '--clear-groups', ...backup])
    await assertArchive(t, to, { 'drive-scsi0': disk })
  })

  test('to a process without compiled code', limits, async (t) => {
    const { disk, serving, to } = await served(t)
    const backup = ['backup', '--attach', serving.control, '--quiet', '-o', to]
    const { code, stderr } = await vmapipe(backup, { env: withoutCompiledCode })
    assert.equal(code, 0, stderr)
    await assertArchive(t, to, { 'drive-scsi0': disk })
  })

  test('from a service that has no memory to share, as on a system that never overcommits', limits, async (t) => {
    const dir = tmpDir(t)
    const disk = join(dir, 'disk')
    makeDisk(disk, 16 * MiB)
    const serving = await serve(t, { 'drive-scsi0': disk }, [], dir, withoutCompiledCode)
    assert.equal((await serving.status()).memory, null)
    const guest = await NbdClient.connect({ socketPath: serving.socket, exportName: 'drive-scsi0' })
    t.after(() => guest.close())
    const before = keepCopy(disk)
    const backup = ['backup', '--attach', serving.control, '--quiet', '--bwlimit', '8MiB/s', '-o', join(dir, 'out.vma')]
    const done = vmapipe(backup)
    await begun(serving)
    for (let cluster = 255; cluster >= 128; cluster--) await guest.write([Buffer.alloc(4096, 'n')], cluster * 65_536)
    const { code, stderr } = await done
    assert.equal(code, 0, stderr)
    await assertArchive(t, join(dir, 'out.vma'), { 'drive-scsi0': before })
  })
})

for (const compress of ['none', 'lz4', 'zstd', 'zstd,frame=16KiB', 'gzip:1']) {
  test(
    `goes on with the least memory while the guest writes everywhere, compressed by ${compress}`,
    limits,
    async (t) => {
      const dir = tmpDir(t)
      const disk = join(dir, 'disk')
      makeDisk(disk, 64 * MiB)
      const before = keepCopy(disk)
      const serving = await serve(t, { a: disk }, ['--buffer', '16MiB'])
      const guest = await NbdClient.connect({ socketPath: serving.socket, exportName: 'a' }, { depth: 16 })
      t.after(() => guest.close())
      const to = join(dir, 'out.vma')
      const running = vmapipe(['backup', '--attach', serving.control, '--quiet', '--compress', compress, '-o', to])
      await begun(serving, true)
      // Every third cluster, from the other end than the scan.
      const writes = Array.from({ length: 341 }, (_, n) => guest.write([Buffer.alloc(4096, n)], (1023 - 3 * n) * 65536))
      const { code, stderr } = await running
      assert.equal(code, 0, stderr)
      await Promise.all(writes)
      assert.ok((await serving.ended()).status.clusters.copied > 0)
      await assertArchive(t, to, { a: before })
    },
  )
}

test(
  'what is refused before the point in time is one line, and exit code 2 where the user is wrong',
  limits,
  async (t) => {
    const { dir, serving, to } = await served(t)
    const attach = ['backup', '--attach', serving.control, '--quiet']
    const cases: [string[], number, RegExp][] = [
      [['-d', 'b', '-o', to], 2, /there is no drive 'b' .*; there are drive-scsi0/],
      [['-d', 'drive-scsi0=disk.raw', '-o', to], 2, /drive drive-scsi0 is the running guest's; write -d drive-scsi0/],
      [['-o', join(dir, 'out.tar')], 2, /name 'out\.tar' does not tell the compression|does not tell the compression/],
      [['-c', join(dir, 'missing'), '-o', to], 1, /no such file or directory: .*missing/],
      [['--max-stall', '1ms', '-o', to], 2, /write it as 10s/],
      [['--buffer', '1MiB', '-o', to], 2, /at least 16\.0 MiB/],
    ]
    for (const [args, code, line] of cases) {
      const outcome = await vmapipe([...attach, ...args])
      assert.equal(outcome.code, code, outcome.stderr)
      assert.match(oneLine(outcome), line)
    }
    const { backup, last } = await serving.status()
    assert.deepEqual([backup, last], [null, null])
    assertNothingIn(dir)
  },
)

test('an archive that exists stays as it is, and the service is free again', limits, async (t) => {
  const { disk, serving, to } = await served(t)
  writeFileSync(to, 'precious')
  const outcome = await vmapipe(['backup', '--attach', serving.control, '--quiet', '-o', to])
  assert.equal(outcome.code, 1)
  assert.match(oneLine(outcome), /exists.*--force/)
  assert.equal(readFileSync(to, 'utf8'), 'precious')
  const forced = await vmapipe(['backup', '--attach', serving.control, '--quiet', '--force', '-o', to])
  assert.equal(forced.code, 0, forced.stderr)
  await assertArchive(t, to, { 'drive-scsi0': disk })
})

test('a second backup is refused with exit code 1', limits, async (t) => {
  const { serving, to, dir } = await served(t)
  const first = await serving.ask('GET', '/backup?bwlimit=1MiB/s')
  first.on('error', () => {})
  const outcome = await vmapipe(['backup', '--attach', serving.control, '--quiet', '-o', to])
  assert.equal(outcome.code, 1)
  assert.match(
    oneLine(outcome),
    /a backup is running already, and there is one at a time .*; wait for it, or end it with `vmapipe abort/,
  )
  assertNothingIn(dir)
  first.destroy()
})

test('where no service is, or something else, is one line and exit code 1', limits, async (t) => {
  const dir = tmpDir(t)
  const odd = createServer((socket) => socket.on('error', () => {}).end('220 mail.example ESMTP\r\n'))
  t.after(() => odd.close())
  await new Promise<void>((resolve) => odd.listen(join(dir, 'odd'), resolve))
  for (const [name, line] of [
    ['missing', /no such file or directory.*is `vmapipe serve --control` running there\?/],
    ['odd', /not that of a service/],
  ] as const) {
    const outcome = await vmapipe(['backup', '--attach', join(dir, name), '--quiet', '-o', join(dir, 'vm.vma')])
    assert.equal(outcome.code, 1)
    assert.match(oneLine(outcome), line)
  }
  assert.ok(!existsSync(join(dir, 'vm.vma')))
})

test('a service that is killed is said to have broken off', limits, async (t) => {
  const { serving, to, dir } = await served(t)
  const running = vmapipe(['backup', '--attach', serving.control, '--quiet', '--bwlimit', '2MiB/s', '-o', to])
  await begun(serving)
  await serving.kill()
  const outcome = await running
  assert.equal(outcome.code, 1)
  assert.match(oneLine(outcome), /the service that is the guest's disk broke off/)
  assertNothingIn(dir)
})

test('a backup that is given up tells the reason and the numbers of the service', limits, async (t) => {
  const dir = tmpDir(t)
  const disk = join(dir, 'disk')
  // More than attach itself holds in memory when its sink takes nothing.
  makeDisk(disk, 128 * MiB)
  const serving = await serve(t, { a: disk })
  const running = vmapipe([
    ...['backup', '--attach', serving.control, '--quiet', '--max-stall', '300ms', '--buffer', '16MiB'],
    ...['-o', 'exec:head -c 100000 >/dev/null; sleep 30'],
  ])
  await begun(serving)
  const guest = await NbdClient.connect({ socketPath: serving.socket, exportName: 'a' }, { depth: 256 })
  t.after(() => guest.close())
  const last = 128 * MiB - 512
  await Promise.all(Array.from({ length: 1000 }, (_, n) => guest.write([Buffer.alloc(512, 1)], last - n * 65536)))
  const outcome = await running
  assert.equal(outcome.code, 1, outcome.stderr)
  assert.match(
    oneLine(outcome),
    /^vmapipe: a guest's write has waited \d{3,} ms for the archive, 300 are allowed: the backup was given up \(\d+ of 2048 clusters were archived, \d+ of 16777216 bytes of the buffer were full\); a faster target/,
  )
  assertNothingIn(dir)
})

test('Ctrl-C ends the backup in the service too', limits, async (t) => {
  const { disk, serving, to, dir } = await served(t)
  const before = keepCopy(disk)
  const child = startCli(['backup', '--attach', serving.control, '--quiet', '--bwlimit', '2MiB/s', '-o', to])
  let said = ''
  child.stderr.on('data', (text) => {
    said += text
  })
  await begun(serving)
  child.kill('SIGINT')
  const [code] = await once(child, 'close')
  assert.equal(code, 130)
  assert.equal(said, 'vmapipe: interrupted\n')
  const { complete, error } = await serving.ended()
  assert.equal(complete, false)
  assert.match(error!, /the reader of the (archive|stream)/)
  assertNothingIn(dir, 'disk.before')
  const again = await vmapipe(['backup', '--attach', serving.control, '--quiet', '-o', to])
  assert.equal(again.code, 0, again.stderr)
  await assertArchive(t, to, { 'drive-scsi0': before })
})

test('progress for programs tells how far the chosen drives are, and how the guest is doing', limits, async (t) => {
  const dir = tmpDir(t)
  const drives = { a: join(dir, 'a'), b: join(dir, 'b') }
  makeDisk(drives.a, 8 * MiB)
  makeDisk(drives.b, 4 * MiB)
  const serving = await serve(t, drives)
  const running = vmapipe([
    ...['backup', '--attach', serving.control, '-d', 'b', '--bwlimit', '2MiB/s', '--progress', 'json'],
    ...['-o', join(dir, 'b.vma')],
  ])
  await begun(serving)
  const guest = await NbdClient.connect({ socketPath: serving.socket, exportName: 'b' })
  t.after(() => guest.close())
  await guest.write([Buffer.alloc(4096, 1)], 4 * MiB - 4096)
  const { code, stderr } = await running
  assert.equal(code, 0, stderr)
  const records = stderr
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
  const end = records.find(({ type }) => type === 'end')
  assert.deepEqual([end.total, end.percent], [4 * MiB, 100])
  const guests = records.flatMap(({ guest }) => (guest === undefined ? [] : [guest]))
  assert.ok(guests.length >= 1)
  assert.equal(guests.at(-1).clusters.total, 64)
  assert.ok(guests.every(({ waiting, buffer }) => waiting.p99 >= 0 && buffer.size > 0))
})
