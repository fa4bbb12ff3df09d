/** Other people's clients against the server, on a real file. */

import assert from 'node:assert/strict'
import { execFile, execFileSync } from 'node:child_process'
import { readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { promisify } from 'node:util'
import { NbdServer } from '../../../../src/protocol/nbd/server/server.ts'
import { openDisk } from '../../../../src/storage/open-disk.ts'
import { sampleImage } from '../../../storage/contract.ts'
import { tmpDir } from '../../../support/tmp.ts'
import { needs } from '../../../support/tools.ts'

const timeout = 60_000
const MiB = 2 ** 20
const run = promisify(execFile)

async function serveFile(t: TestContext, content: Buffer | number, readOnly = false) {
  const folder = tmpDir(t)
  const path = join(folder, 'disk')
  writeFileSync(path, typeof content === 'number' ? '' : content)
  if (typeof content === 'number') truncateSync(path, content)
  const disk = await openDisk(path, { readOnly })
  const server = new NbdServer([{ name: 'drive-scsi0', description: 'the only one', disk }])
  const socket = join(folder, 'nbd')
  await server.listenOnPath(socket)
  const stop = async () => {
    await server.close({ grace: 500 })
    await disk.close()
  }
  t.after(stop)
  return { folder, path, server, stop, socket, uri: `nbd+unix:///drive-scsi0?socket=${socket}` }
}

/** libnbd's Python, which the distribution has for its own interpreter. */
function nbdsh(uri: string, script: string) {
  return run('/usr/bin/python3', ['-m', 'nbd', '--base-allocation', '-u', uri, '-c', script], { timeout: 60_000 })
}

function hasNbdsh(): { skip: string | false } {
  try {
    execFileSync('/usr/bin/python3', ['-c', 'import nbd'], { stdio: 'ignore' })
    return { skip: false }
  } catch {
    return { skip: process.env.CI ? false : 'needs python3-libnbd' }
  }
}

for (const [how, args] of [
  ['4 KiB, one after the other', ['--bs=4k', '--iodepth=1', '--io_size=4M']],
  ['4 KiB, 16 at a time, with barriers', ['--bs=4k', '--iodepth=16', '--io_size=8M', '--fsync=50']],
  ['odd sizes, 16 at a time', ['--bsrange=512-256k', '--bs_unaligned', '--iodepth=16', '--trim_percentage=0']],
  ['1 MiB, 4 at a time', ['--bs=1M', '--iodepth=4']],
] as const) {
  test(`fio verifies what it wrote: ${how}`, { timeout, ...needs('fio') }, async (t) => {
    const { uri, folder } = await serveFile(t, 32 * MiB)
    const job = ['--name=v', '--ioengine=nbd', `--uri=${uri}`, '--rw=randwrite', '--size=32M', '--io_size=12M']
    await run('fio', [...job, ...args, '--verify=crc32c', '--verify_fatal=1', '--randrepeat=0'], { cwd: folder })
  })
}

test('nbdcopy in and out, over several connections: the same bytes, and the holes stay holes', {
  timeout,
  ...needs('nbdcopy'),
}, async (t) => {
  const image = Buffer.concat([sampleImage(), Buffer.alloc(40 * MiB), sampleImage(), Buffer.alloc(512)])
  const { uri, folder, path, server } = await serveFile(t, image.length)
  const source = join(folder, 'source')
  writeFileSync(source, image)
  await run('nbdcopy', ['--flush', source, uri])
  assert.ok(readFileSync(path).equals(image))
  assert.ok(statSync(path).blocks * 512 < 20 * MiB, 'it is sparse')
  assert.ok(server.stats.flushes > 0)
  const copy = join(folder, 'copy')
  const { bytesRead: before, accepted } = server.stats
  await run('nbdcopy', ['--threads=4', '--connections=4', uri, copy])
  assert.ok(readFileSync(copy).equals(image))
  assert.ok(server.stats.bytesRead - before < 20 * MiB, 'holes were not read')
  assert.equal(server.stats.accepted - accepted, 4)
})

test('nbdinfo lists, describes and maps it', { timeout, ...needs('nbdinfo') }, async (t) => {
  const image = Buffer.alloc(MiB)
  image.fill(1, 256 * 1024, 512 * 1024)
  const { uri, path, socket } = await serveFile(t, MiB)
  const fd = await import('node:fs/promises').then(({ open }) => open(path, 'r+'))
  await fd.write(image, 256 * 1024, 256 * 1024, 256 * 1024)
  await fd.close()
  const { stdout: list } = await run('nbdinfo', ['--json', '--list', `nbd+unix:///?socket=${socket}`])
  const [entry] = JSON.parse(list).exports
  assert.equal(entry['export-name'], 'drive-scsi0')
  assert.equal(entry.description, 'the only one')
  assert.equal(entry['export-size'], MiB)
  assert.equal(entry.block_size_maximum, 32 * MiB)
  for (const can of ['multi_conn', 'flush', 'fua', 'trim', 'zero', 'fast_zero', 'df', 'cache']) {
    assert.equal(entry[`can_${can}`], true, can)
  }
  const { stdout: map } = await run('nbdinfo', ['--json', '--map', uri])
  assert.deepEqual(
    JSON.parse(map).map(({ offset, length, type }: any) => [offset, length, type]),
    [
      [0, 256 * 1024, 3],
      [256 * 1024, 256 * 1024, 0],
      [512 * 1024, 512 * 1024, 3],
    ],
  )
})

test('qemu-io writes, zeroes, discards and reads back; qemu-img compares and converts', {
  timeout,
  ...needs('qemu-io', 'qemu-img'),
}, async (t) => {
  const { uri, folder, path, server } = await serveFile(t, 16 * MiB)
  const commands = [
    'write -P 17 1000 70000',
    'write -f -P 18 1M 1M',
    'write -z 1100k 64k',
    'write -z -u 1200k 64k',
    'discard 8M 1M',
    'flush',
    'read -P 17 1000 70000',
    'read -P 0 1100k 64k',
    'read -P 18 1300k 64k',
  ]
  const { stdout } = await run('qemu-io', ['-d', 'unmap', '-f', 'raw', ...commands.flatMap((c) => ['-c', c]), uri])
  assert.doesNotMatch(stdout, /fail|error/i)
  const { flushes, trims, zeroes } = server.stats
  assert.ok(flushes > 0 && trims > 0 && zeroes >= 2, JSON.stringify(server.stats))
  await run('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', uri, join(folder, 'copy.qcow2')])
  const compare = ['compare', '-f', 'raw', '-F', 'qcow2']
  await run('qemu-img', [...compare, uri, join(folder, 'copy.qcow2')])
  const { stdout: map } = await run('qemu-img', ['map', '--output=json', '-f', 'raw', uri])
  assert.ok(JSON.parse(map).some(({ zero, data }: any) => zero && !data))
  assert.equal(readFileSync(path)[1000], 17)
})

test('libnbd with its checks switched off says what no client should; each is refused and nothing breaks', {
  timeout,
  ...hasNbdsh(),
}, async (t) => {
  const image = Buffer.alloc(MiB, 7)
  const { uri, path } = await serveFile(t, image)
  const script = `
import errno
h.set_strict_mode(0)
size = h.get_size()
def refused(code, call):
    try:
        call()
    except nbd.Error as e:
        assert e.errno == code, (e.errno, code, str(e))
        return
    raise AssertionError('not refused')
refused('EINVAL', lambda: h.pread(512, size))
refused('EINVAL', lambda: h.pread(2, size - 1))
refused('ENOSPC', lambda: h.pwrite(b'x' * 1000, size - 999))
refused('ENOSPC', lambda: h.pwrite(b'x', 2**63 - 1))
refused('EINVAL', lambda: h.trim(512, size))
refused('ENOSPC', lambda: h.zero(512, size))
refused('EINVAL', lambda: h.cache(2, size - 1))
refused('EINVAL', lambda: h.pread(512, 0, 1 << 14))
refused('EINVAL', lambda: h.pwrite(b'x', 0, nbd.CMD_FLAG_DF))
refused('EINVAL', lambda: h.zero(1, 0, nbd.CMD_FLAG_REQ_ONE))
refused('EINVAL', lambda: h.block_status(0, 0, lambda *a: 0))
refused('EINVAL', lambda: h.block_status(1, size, lambda *a: 0))
assert h.pread(size, 0) == bytearray(b'\\x07' * size)
h.pwrite(b'', 0)
h.pwrite(b'fine', 10, nbd.CMD_FLAG_FUA)
h.flush()
assert h.pread(4, 10) == b'fine'
`
  await nbdsh(uri, script)
  image.write('fine', 10)
  assert.ok(readFileSync(path).equals(image))
})

test('a read-only disk is seen as one', { timeout, ...hasNbdsh() }, async (t) => {
  const { uri, path } = await serveFile(t, Buffer.alloc(MiB, 7), true)
  const script = `
h.set_strict_mode(0)
assert h.is_read_only()
for call in (lambda: h.pwrite(b'x', 0), lambda: h.trim(512, 0), lambda: h.zero(512, 0)):
    try:
        call()
        raise AssertionError('not refused')
    except nbd.Error as e:
        assert e.errno == 'EPERM', e.errno
h.flush()
`
  await nbdsh(uri, script)
  assert.ok(readFileSync(path).equals(Buffer.alloc(MiB, 7)))
})
