import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { backup } from '../../src/operations/backup.ts'
import { restore } from '../../src/operations/restore.ts'
import { verify } from '../../src/operations/verify.ts'
import { sha256 } from '../cli/guest.ts'
import { partialIn } from '../storage/archive/processes.ts'
import { writeImage } from '../support/image.ts'
import { loopDevice, needsLoopDevice } from '../support/loop-device.ts'
import { nbdkit, qemuNbd } from '../support/nbd-server.ts'
import { tmpDir } from '../support/tmp.ts'
import { needs } from '../support/tools.ts'

const timeout = 120_000
const MIB = 1 << 20

describe('a raw drive comes back', { timeout }, () => {
  test('whatever its size', async (t) => {
    const dir = tmpDir(t)
    const sizes = [1, 511, 513, 4095, 4096, 4097, 65535, 65536, 65537, 58 * 65536, 58 * 65536 + 1, 3 * MIB + 4321]
    const drives = Object.fromEntries(
      sizes.map((size) => {
        const path = join(dir, `${size}`)
        writeImage(path, size, { tail: Math.min(size, 100) })
        return [`d${size}`, path]
      }),
    )
    const to = join(dir, 'a.vma')
    await backup({ drives, to })
    await verify({ from: to })
    await restore({ from: to, into: join(dir, 'out') })
    for (const [name, path] of Object.entries(drives)) {
      assert.ok(readFileSync(join(dir, 'out', `disk-${name}.raw`)).equals(readFileSync(path)), name)
    }
  })

  test('with 253 others, and a vmstate', async (t) => {
    const dir = tmpDir(t)
    const names = Array.from({ length: 253 }, (_, index) => `drive-scsi${index}`).concat('vmstate')
    for (const [index, name] of names.entries()) writeImage(join(dir, name), 512 * (index + 1), { noise: index })
    const to = join(dir, 'a.vma.zst')
    await backup({ drives: Object.fromEntries(names.map((name) => [name, join(dir, name)])), to })
    const { drives } = await restore({ from: to, into: join(dir, 'out') })
    assert.equal(drives.length, 254)
    for (const name of names) {
      const file = name === 'vmstate' ? 'vmstate.bin' : `disk-${name}.raw`
      assert.ok(readFileSync(join(dir, 'out', file)).equals(readFileSync(join(dir, name))), name)
    }
    const one = join(dir, 'drive-scsi0')
    const many = Object.fromEntries(Array.from({ length: 255 }, (_, index) => [`d${index}`, one]))
    await assert.rejects(backup({ drives: many, to: join(dir, 'b.vma') }), { code: 'USAGE', message: /255 drives/ })
  })

  test('of 1 TiB with 64 MiB of data: sparse, and in the time that these take', async (t) => {
    const dir = tmpDir(t)
    const disk = join(dir, 'disk.raw')
    writeImage(disk, 2 ** 40, { noise: 32 * MIB, tail: 32 * MIB })
    const to = join(dir, 'a.vma')
    const before = process.cpuUsage()
    await backup({ drives: { d: disk }, to })
    // 16 Mi slots, 58 of them in 512 bytes, and as many in 7 bytes of the index; and the data.
    assert.ok(statSync(to).size < (2 ** 24 / 58 + 2) * (512 + 9) + 64 * MIB + 12800)
    await restore({ from: to, into: join(dir, 'out') })
    // Of the processor, whoever else uses the machine: 4 s; it would be hours if holes were read.
    const { user, system } = process.cpuUsage(before)
    assert.ok(user + system < 50_000_000, `${(user + system) / 1e6} s`)
    const back = statSync(join(dir, 'out/disk-d.raw'))
    assert.equal(back.size, 2 ** 40)
    assert.ok(back.blocks * 512 < 66 * MIB, `${back.blocks * 512} bytes are allocated`)
    const same = 'cmp -n 33554432 "$0" "$1" && cmp -i 1099478073344 "$0" "$1"'
    execFileSync('sh', ['-c', same, disk, join(dir, 'out/disk-d.raw')])
  })

  test('as it is, though a guest wrote the header of an image into it', needs('qemu-img'), async (t) => {
    const dir = tmpDir(t)
    const secret = join(dir, 'secret')
    writeFileSync(secret, 'x'.repeat(MIB))
    const disk = join(dir, 'disk.raw')
    execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', '-b', secret, '-F', 'raw', disk])
    const to = join(dir, 'a.vma')
    const made = await backup({ drives: { d: disk }, to })
    assert.equal(made.drives[0].size, statSync(disk).size)
    await restore({ from: to, drives: { d: join(dir, 'back') } })
    assert.equal(sha256(join(dir, 'back')), sha256(disk))
  })
})

describe('a drive goes', { timeout }, () => {
  const SIZE = 20 * MIB + 512

  const guest = (t: Parameters<typeof tmpDir>[0]) => {
    const dir = tmpDir(t)
    const disk = join(dir, 'disk.raw')
    writeImage(disk, SIZE, { noise: 5 * MIB + 700, text: 3 * MIB, tail: 1000 })
    return { dir, disk, archive: join(dir, 'a.vma.lz4') }
  }

  for (const format of ['qcow2', 'vmdk']) {
    test(`to ${format} and back`, needs('qemu-nbd', 'qemu-img'), async (t) => {
      const { dir, disk, archive } = guest(t)
      await backup({ drives: { d: disk }, to: archive })
      const image = join(dir, `disk.${format}`)
      await restore({ from: archive, drives: { d: `${format}:${image}` } })
      const compared = spawnSync('qemu-img', ['compare', '-f', 'raw', '-F', format, disk, image], { encoding: 'utf8' })
      assert.equal(compared.status, 0, compared.stdout + compared.stderr)
      await backup({ drives: { d: `${format}:${image}` }, to: join(dir, 'b.vma') })
      await restore({ from: join(dir, 'b.vma'), drives: { d: join(dir, 'back.raw') } })
      assert.equal(sha256(join(dir, 'back.raw')), sha256(disk))
    })
  }

  const servers: Record<string, (t: never, dir: string, image: string) => Promise<string>> = {
    'qemu-nbd': (t, dir, image) => qemuNbd(t, join(dir, 'socket'), ['-f', 'raw', '--discard=unmap', image]),
    nbdkit: (t, dir, image) => nbdkit(t, join(dir, 'socket'), ['file', image]),
  }

  for (const [server, serve] of Object.entries(servers)) {
    test(`through the NBD of ${server}, over what was there`, needs(server), async (t) => {
      const { dir, disk, archive } = guest(t)
      await backup({ drives: { d: disk }, to: archive })
      const image = join(dir, 'target.raw')
      writeFileSync(image, Buffer.alloc(SIZE, 'old '))
      const target = await serve(t as never, dir, image)
      await restore({ from: archive, drives: { d: target } })
      assert.equal(sha256(image), sha256(disk))
      const again = join(dir, 'b.vma')
      const made = await backup({ drives: { d: target }, to: again })
      assert.equal(made.drives[0].size, SIZE)
      assert.equal((await verify({ from: again })).drives[0].stored, made.drives[0].stored)
      await restore({ from: again, drives: { d: join(dir, 'back.raw') } })
      assert.equal(sha256(join(dir, 'back.raw')), sha256(disk))
    })
  }

  test(
    'through a block device, over what was there; a forced archive onto it is refused',
    needsLoopDevice,
    async (t) => {
      const { dir, disk, archive } = guest(t)
      await backup({ drives: { d: disk }, to: archive })
      const backing = join(dir, 'backing')
      writeFileSync(backing, Buffer.alloc(SIZE, 'old '))
      const device = loopDevice(t, backing)
      await restore({ from: archive, drives: { d: device }, force: true })
      const again = join(dir, 'b.vma')
      await backup({ drives: { d: device }, to: again })
      await restore({ from: again, drives: { d: join(dir, 'back.raw') } })
      assert.equal(sha256(join(dir, 'back.raw')), sha256(disk))
      const onto = backup({ drives: { d: device }, to: device, compress: 'none', force: true })
      await assert.rejects(onto, { code: 'USAGE', message: /read by this very run/ })
    },
  )

  test('to a target that is larger, not to one that is smaller', needs('qemu-nbd'), async (t) => {
    const { dir, disk, archive } = guest(t)
    await backup({ drives: { d: disk }, to: archive })
    const larger = join(dir, 'larger')
    writeFileSync(larger, Buffer.alloc(SIZE + 5 * 512, 'old '))
    const target = await qemuNbd(t, join(dir, 'socket'), ['-f', 'raw', larger])
    await restore({ from: archive, drives: { d: target } })
    const bytes = readFileSync(larger)
    assert.ok(bytes.subarray(0, SIZE).equals(readFileSync(disk)))
    assert.equal(bytes.toString('latin1', SIZE), 'old '.repeat((5 * 512) / 4))
    const smaller = join(dir, 'smaller')
    writeFileSync(smaller, Buffer.alloc(SIZE - 512))
    const refused = await qemuNbd(t, join(dir, 'socket2'), ['-f', 'raw', smaller])
    await assert.rejects(restore({ from: archive, drives: { d: refused } }), {
      code: 'USAGE',
      message: `the target has ${SIZE - 512} bytes, the drive ${SIZE}`,
    })
  })

  test('to a target that is said to be zero without its zeroes', needs('nbdkit'), async (t) => {
    const { dir, disk, archive } = guest(t)
    await backup({ drives: { d: disk }, to: archive })
    const image = join(dir, 'target.raw')
    writeFileSync(image, Buffer.alloc(SIZE, 'old '))
    const target = await nbdkit(t, join(dir, 'socket'), ['file', image])
    await restore({ from: archive, drives: { d: target }, zeroed: ['d'] })
    // Where the drive has zeroes the target keeps what it had: that it was zero was a lie.
    assert.equal(readFileSync(image).toString('latin1', 12 * MIB, 12 * MIB + 8), 'old old ')
    assert.ok(
      readFileSync(image)
        .subarray(0, 5 * MIB)
        .equals(readFileSync(disk).subarray(0, 5 * MIB)),
    )
  })
})

describe('a backup fails with one line', { timeout }, () => {
  test('when its drive shrinks meanwhile', async (t) => {
    const dir = tmpDir(t)
    const disk = join(dir, 'disk.raw')
    writeImage(disk, 32 * MIB, { noise: 32 * MIB })
    const run = backup({ drives: { d: disk }, to: join(dir, 'a.vma'), bwlimit: '8MiB/s', compress: 'none' })
    await Promise.race([partialIn(dir, MIB), run])
    truncateSync(disk, 24 * MIB)
    await assert.rejects(run, (error: any) => {
      assert.equal(error.code, 'FAILED')
      assert.match(error.line, /cluster-source: the file ends here, it has shrunk \(file .*, drive d, byte 25165824\)/)
      return true
    })
    assert.ok(!statSync(join(dir, 'a.vma'), { throwIfNoEntry: false }))
  })

  test('when its drive cannot be read at one place', needs('nbdkit'), async (t) => {
    const dir = tmpDir(t)
    const trigger = join(dir, 'bad')
    writeFileSync(trigger, '')
    const args = ['--filter=error', 'pattern', '8M', 'error-pread-rate=100%', `error-file=${trigger}`]
    const source = await nbdkit(t, join(dir, 'socket'), args)
    await assert.rejects(backup({ drives: { d: source }, to: join(dir, 'a.vma') }), (error: any) => {
      assert.equal(error.code, 'FAILED')
      assert.match(error.line, /^cluster-source: .*input\/output error.*drive d, byte 0/i)
      return true
    })
  })
})
