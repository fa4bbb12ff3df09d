import assert from 'node:assert/strict'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { OUTCOME } from '../../src/live/control/server.ts'
import { tmpDir } from '../support/tmp.ts'
import { needs } from '../support/tools.ts'
import { assertArchive, assertSame, keepCopy, MiB, makeDisk } from './images.ts'
import { curl, run, startFio } from './programs.ts'
import { serve } from './serving.ts'

const timeout = 60_000

describe('a served disk', () => {
  test('is in the archive as it was when fio began, which finds all that it wrote', {
    ...needs('fio', 'curl'),
    timeout,
  }, async (t) => {
    const dir = tmpDir(t)
    const disk = join(dir, 'disk')
    makeDisk(disk, 48 * MiB + 1536, { hole: 8 * MiB })
    const before = keepCopy(disk)
    const serving = await serve(t, { a: disk })
    const response = await serving.ask('GET', '/backup?bwlimit=12MiB/s')
    assert.equal(response.statusCode, 200)
    const archive = response.toArray()
    const verified = ['--verify=crc32c', '--verify_fatal=1', '--do_verify=1', '--randseed=1']
    const size = [
      '--size=48M',
      '--bsrange=512-96k',
      '--blockalign=512',
      '--iodepth=16',
      '--rw=randwrite',
      '--fsync=200',
    ]
    const figures = await startFio(t, serving.uri('a'), { args: [...size, ...verified] }).done
    await assertArchive(t, Buffer.concat(await archive), { a: before })
    assert.equal(response.trailers[OUTCOME.toLowerCase()], 'complete')
    const { status, complete } = await serving.ended()
    assert.ok(complete)
    const { clusters } = status
    assert.equal(clusters.scanned + clusters.copied, clusters.total)
    assert.equal(clusters.total, 769)
    assert.ok(clusters.copied > 100, `fio came first in ${clusters.copied} clusters`)
    assert.ok(figures.requests > 500)
    assert.equal(await serving.stop(), 0)
  })

  test('is in the archive as it was when nbdcopy began to replace all of it', {
    ...needs('nbdcopy', 'curl'),
    timeout,
  }, async (t) => {
    const dir = tmpDir(t)
    const [disk, other, archive] = ['disk', 'other', 'vm.vma'].map((name) => join(dir, name))
    makeDisk(disk, 64 * MiB)
    makeDisk(other, 64 * MiB, { hole: 32 * MiB })
    const before = keepCopy(disk)
    const serving = await serve(t, { a: disk })
    const backup = run(t, 'curl', curl(serving.control, '/backup?bwlimit=16MiB/s', archive))
    while ((await serving.status()).backup === null);
    await run(t, 'nbdcopy', [other, serving.uri('a')])
    await backup
    assert.equal(await serving.stop(), 0)
    assertSame(disk, other)
    await assertArchive(t, archive, { a: before })
  })

  test('holds what qemu-io wrote, zeroed and discarded, and the archive what was there before', {
    ...needs('qemu-io'),
    timeout,
  }, async (t) => {
    const disk = join(tmpDir(t), 'disk')
    makeDisk(disk, 32 * MiB)
    const before = keepCopy(disk)
    const serving = await serve(t, { a: disk })
    const response = await serving.ask('GET', '/backup?bwlimit=8MiB/s')
    const commands = [
      'write -P 0x11 31M 1536',
      'write -z 20M 3M',
      'write -z -u 16777211 100001',
      'discard 24M 2M',
      'aio_write -P 0x22 29M 1M',
      'aio_write -P 0x33 28700k 300k',
      'aio_flush',
      'write -f -P 0x44 0 4k',
      'read -P 0x11 31M 1536',
      'read -P 0 20M 3M',
      'read -P 0 16777211 100001',
      'read -P 0x33 28700k 300k',
      'read -P 0x44 0 4k',
      'flush',
    ]
    const out = await run(t, 'qemu-io', [
      ...['-f', 'raw', '-t', 'none', '-d', 'unmap', serving.uri('a')],
      ...commands.flatMap((command) => ['-c', command]),
    ])
    assert.doesNotMatch(out, /failed|error/i)
    assert.ok((await serving.status()).backup !== null, 'the backup was under way all the time')
    await assertArchive(t, Buffer.concat(await response.toArray()), { a: before })
  })

  test('is one of several, each an export and a drive of the archive at the same instant', {
    ...needs('nbdinfo', 'qemu-io'),
    timeout,
  }, async (t) => {
    const dir = tmpDir(t)
    const drives = { 'drive-scsi0': join(dir, 'a'), 'drive-scsi1': join(dir, 'b') }
    makeDisk(drives['drive-scsi0'], 8 * MiB)
    makeDisk(drives['drive-scsi1'], 12 * MiB + 100)
    const before = { 'drive-scsi0': keepCopy(drives['drive-scsi0']), 'drive-scsi1': keepCopy(drives['drive-scsi1']) }
    const serving = await serve(t, drives)
    const listed = JSON.parse(await run(t, 'nbdinfo', ['--list', '--json', serving.uri('')])).exports
    assert.deepEqual(
      listed.map((entry: Record<string, unknown>) => [entry['export-name'], entry['export-size'], entry.can_cache]),
      [
        ['drive-scsi0', 8 * MiB, true],
        ['drive-scsi1', 12 * MiB + 100, true],
      ],
    )
    const response = await serving.ask('GET', '/backup')
    for (const name of Object.keys(drives)) {
      await run(t, 'qemu-io', ['-f', 'raw', serving.uri(name), '-c', 'write -P 7 1M 4M'])
    }
    await assertArchive(t, Buffer.concat(await response.toArray()), before)
    const one = await serving.ask('GET', '/backup?drive=drive-scsi1')
    await assertArchive(t, Buffer.concat(await one.toArray()), { 'drive-scsi1': drives['drive-scsi1'] })
  })
})
