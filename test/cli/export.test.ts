/** Archives served as disks, looked at with real NBD clients. */

import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { backup } from '../../src/operations/backup.ts'
import { NbdClient } from '../../src/protocol/nbd/client.ts'
import { assertSame, MiB } from '../live/images.ts'
import { type Serving, serveBy } from '../live/serving.ts'
import { sampleImage, writeSparse } from '../storage/contract.ts'
import { tmpDir } from '../support/tmp.ts'
import { needs } from '../support/tools.ts'
import { oneLine, vmapipe } from './cli.ts'

const limits = { timeout: 120_000 }

interface Made {
  dir: string
  archive: string
  images: Record<string, string>
}

/** An archive of two drives, the second with an odd end. */
async function makeArchive(t: TestContext, extension = 'vma'): Promise<Made> {
  const dir = tmpDir(t)
  const images = { a: join(dir, 'a.raw'), b: join(dir, 'b.raw') }
  writeSparse(images.a, sampleImage(8 * MiB))
  writeSparse(images.b, sampleImage(3 * MiB + 1536))
  const archive = join(dir, `vm.${extension}`)
  await backup({ drives: images, to: archive })
  return { dir, archive, images }
}

function clientOf({ socket }: Serving, exportName: string): Promise<NbdClient> {
  return NbdClient.connect({ socketPath: socket, exportName })
}

describe('export', () => {
  for (const extension of ['vma', 'vma.zst', 'vma.lz4', 'vma.gz']) {
    test(`serves the drives of a .${extension} as they were`, {
      ...limits,
      ...needs('qemu-img', 'nbdcopy'),
    }, async (t) => {
      const { dir, archive, images } = await makeArchive(t, extension)
      const before = readFileSync(archive)
      const serving = await serveBy(t, ['export', archive], dir)
      for (const [name, image] of Object.entries(images)) {
        const raw = join(dir, `${name}.copy`)
        execFileSync('nbdcopy', ['--connections=4', serving.uri(name), raw])
        assertSame(raw, image)
        const uri = serving.uri(name)
        execFileSync('qemu-img', ['compare', '-f', 'raw', '-F', 'raw', uri, image], { stdio: 'pipe' })
        const qcow2 = join(dir, `${name}.qcow2`)
        execFileSync('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', '-W', uri, qcow2])
        execFileSync('qemu-img', ['compare', '-f', 'qcow2', '-F', 'raw', qcow2, image], { stdio: 'pipe' })
      }
      assert.equal(await serving.stop(), 0)
      assert.ok(readFileSync(archive).equals(before))
    })
  }

  test('unpacks what can only be read once, where it is told to', {
    ...limits,
    ...needs('zstd', 'qemu-img'),
  }, async (t) => {
    const { dir, archive, images } = await makeArchive(t)
    const [foreign, spool] = [join(dir, 'foreign.vma.zst'), join(dir, 'spool')]
    execFileSync('zstd', ['-q', archive, '-o', foreign])
    const serving = await serveBy(t, ['export', `exec:cat '${foreign}'`, '--spool', spool], dir)
    execFileSync('qemu-img', ['compare', '-f', 'raw', '-F', 'raw', serving.uri('b'), images.b], { stdio: 'pipe' })
    assert.equal(await serving.stop(), 0)
    assert.deepEqual(readdirSync(spool), [])
  })

  test('names its exports, tells their holes and lets nobody write', { ...limits, ...needs('nbdinfo') }, async (t) => {
    const { dir, archive, images } = await makeArchive(t)
    const serving = await serveBy(t, ['export', archive], dir)
    const { exports } = JSON.parse(nbdinfo('--list', '--json', `nbd+unix://?socket=${serving.socket}`))
    assert.deepEqual(
      exports.map((found: Record<string, unknown>) => [
        found['export-name'],
        found['export-size'],
        found.is_read_only,
        found.can_multi_conn,
      ]),
      Object.entries(images).map(([name, image]) => [name, statSync(image).size, true, true]),
    )
    const map: { offset: number; length: number; type: number }[] = JSON.parse(
      nbdinfo('--map', '--json', serving.uri('a')),
    )
    const image = readFileSync(images.a)
    let holes = 0
    for (const { offset, length, type } of map) {
      if (type !== 3) continue
      holes += length
      assert.ok(image.subarray(offset, offset + length).equals(Buffer.alloc(length)))
    }
    assert.ok(holes > 5 * MiB, `${holes} bytes of holes`)
    const client = await clientOf(serving, 'a')
    await assert.rejects(client.write([Buffer.alloc(512)], 0))
    await client.close()
  })

  test('has the chosen drives only', limits, async (t) => {
    const { dir, archive } = await makeArchive(t)
    const serving = await serveBy(t, ['export', archive, '-d', 'b'], dir)
    assert.deepEqual(
      (await serving.status()).drives.map(({ name }) => name),
      ['b'],
    )
    await assert.rejects(clientOf(serving, 'a'))
  })

  test('fails reads of damaged bytes, and no others', limits, async (t) => {
    const { dir, archive, images } = await makeArchive(t)
    const bytes = readFileSync(archive)
    // In the data of the drive's middle.
    const at = bytes.indexOf(readFileSync(images.a).subarray(3 * MiB + 65536, 3 * MiB + 65536 + 512))
    bytes[at + 100] ^= 1
    writeFileSync(archive, bytes)
    const serving = await serveBy(t, ['export', archive], dir)
    const client = await clientOf(serving, 'a')
    await assert.rejects(client.read(Buffer.alloc(4096), 3 * MiB + 65536), /EIO|input\/output/i)
    const other = Buffer.alloc(2 * MiB)
    const b = await clientOf(serving, 'b')
    await b.read(other, 0)
    assert.ok(other.equals(readFileSync(images.b).subarray(0, 2 * MiB)), 'the other drive is well')
    const end = Buffer.alloc(700)
    await client.read(end, 8 * MiB - 700)
    assert.ok(end.equals(readFileSync(images.a).subarray(8 * MiB - 700)))
    await client.close()
    await b.close()
    assert.equal(await serving.stop(), 0)
    assert.match(serving.log, /WARNING: READ of a failed: .*\(.*drive a.*\)/)
  })
})

describe('export --overlay', () => {
  test('keeps what is written, over kill -9, and is used by one at a time', {
    ...limits,
    ...needs('qemu-img'),
  }, async (t) => {
    const { dir, archive, images } = await makeArchive(t)
    const before = readFileSync(archive)
    const changes = join(dir, 'changes')
    const command = ['export', archive, '--overlay', changes]
    const model = readFileSync(images.a)
    const serving = await serveBy(t, command, dir)
    const client = await clientOf(serving, 'a')
    const write = async (offset: number, length: number, value: number) => {
      await client.write([Buffer.alloc(length, value)], offset)
      model.fill(value, offset, offset + length)
    }
    await write(100, 5000, 1)
    await write(2 * MiB, 65536, 2)
    await client.writeZeroes(3 * MiB + 4, 100_000)
    model.fill(0, 3 * MiB + 4, 3 * MiB + 4 + 100_000)
    await serving.kill()
    await client.close().catch(() => {})

    const again = await serveBy(t, command, dir)
    const busy = await vmapipe([...command, '--socket', join(dir, 'second')])
    assert.equal(busy.code, 1)
    assert.match(oneLine(busy), /in use by process .*drive a/)
    writeFileSync(join(dir, 'model'), model)
    execFileSync('qemu-img', ['compare', '-f', 'raw', '-F', 'raw', again.uri('a'), join(dir, 'model')], {
      stdio: 'pipe',
    })
    const fua = await clientOf(again, 'b')
    await fua.write([Buffer.alloc(512, 7)], 0, { fua: true })
    await fua.close()
    assert.equal(await again.stop(), 0)
    assert.ok(readFileSync(archive).equals(before), 'the archive is untouched')
    assert.deepEqual(readdirSync(changes).sort(), [
      'disk-a.raw.overlay',
      'disk-a.raw.overlay-map',
      'disk-a.raw.overlay-recent',
      'disk-b.raw.overlay',
      'disk-b.raw.overlay-map',
      'disk-b.raw.overlay-recent',
    ])
  })

  test('refuses what belongs to another archive, and leaves it alone', limits, async (t) => {
    const { dir, archive, images } = await makeArchive(t)
    const changes = join(dir, 'changes')
    await (await serveBy(t, ['export', archive, '--overlay', changes], dir)).stop()
    const other = join(dir, 'other.vma')
    await backup({ drives: images, to: other })
    const outcome = await vmapipe(['export', other, '--overlay', changes, '--socket', join(dir, 's')])
    assert.equal(outcome.code, 2)
    assert.match(oneLine(outcome), /belongs to another archive .*overlay-map.*drive a.*; name another folder/)
    assert.ok(!existsSync(join(dir, 's')))
  })
})

test('export refuses what makes no sense, in one line', limits, async (t) => {
  const { dir, archive } = await makeArchive(t)
  writeFileSync(join(dir, 'text'), 'no archive at all '.repeat(100))
  const to = ['--socket', join(dir, 's')]
  const cases: [string[], number, RegExp][] = [
    [[archive], 2, /nothing says where guests connect/],
    [[archive, ...to, '-d', 'c'], 2, /the archive has no drive 'c'; it has a, b/],
    [[join(dir, 'none'), ...to], 1, /no such file or directory/],
    [[join(dir, 'text'), ...to], 3, /text/],
    [[archive, ...to, '--overlay', join(dir, 'text')], 2, /is not a folder/],
    [[archive, ...to, '--buffer', '1'], 2, /at least 16\.0 MiB/],
    [[archive, ...to, '--ready-fd', '99'], 2, /no such descriptor/],
  ]
  for (const [args, code, line] of cases) {
    const outcome = await vmapipe(['export', ...args])
    assert.match(oneLine(outcome), line)
    assert.equal(outcome.code, code, outcome.stderr)
    assert.ok(!existsSync(join(dir, 's')))
  }
})

function nbdinfo(...args: string[]): string {
  const { status, stdout, stderr } = spawnSync('nbdinfo', args, { encoding: 'utf8' })
  assert.equal(status, 0, stderr)
  return stdout
}
