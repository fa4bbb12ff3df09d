import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { listLines } from '../../src/cli/commands/list.ts'
import { Manifest } from '../../src/core/items.ts'
import { golden, goldenPath, needsGolden } from '../support/golden.ts'
import { tmpDir } from '../support/tmp.ts'
import { needs } from '../support/tools.ts'
import { LAUNCHER, oneLine, startCli, vmapipe } from './cli.ts'
import { CONFIG, writeGuest } from './guest.ts'

const limits = { timeout: 120_000 }

function manifest(fields: Partial<Manifest>): Manifest {
  return new Manifest({ uuid: new Uint8Array(16), ctime: 0, configs: [], drives: [], ...fields })
}

describe('list', () => {
  test('prints what the real tool printed, for every kind of archive', { ...limits, ...needsGolden }, async () => {
    const { readManifest } = await import('../../src/operations/manifest.ts')
    for (const [name, { list }] of golden) {
      const lines = listLines(await readManifest({ from: goldenPath(name) }))
      assert.equal(lines.map((line) => `${line}\n`).join(''), list, name)
    }
  })

  test('pads days as C does, and survives times that no calendar has', () => {
    const ctime = (seconds: number) => listLines(manifest({ ctime: seconds })).at(-1)
    assert.equal(ctime(0), 'CTIME: Thu Jan  1 00:00:00 1970')
    assert.equal(ctime(1793703367), 'CTIME: Tue Nov  3 10:56:07 2026')
    assert.equal(ctime(2 ** 53), 'CTIME: 9007199254740992 seconds since 1970')
  })

  test('shows names without letting them move the cursor', () => {
    const lines = listLines(manifest({ drives: [{ id: 3, name: 'a\x1b[2Jb\nDEV:', size: 5 }] }))
    assert.equal(lines[0], 'DEV: dev_id=3 size: 5 devname: a\\u{1b}[2Jb\\u{a}DEV:')
  })

  test('as JSON, with the uuid', limits, async (t) => {
    const dir = tmpDir(t)
    const { disk, config } = writeGuest(dir)
    const archive = join(dir, 'a.vma.gz')
    await vmapipe(['backup', '-d', `drive-scsi0=${disk}`, '-c', config, '-o', archive])
    const { stdout } = await vmapipe(['list', '--json', archive])
    const { uuid, ctime, time, configs, drives } = JSON.parse(stdout.toString())
    assert.match(uuid, /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/)
    assert.equal(Date.parse(time), ctime * 1000)
    assert.deepEqual(configs, [{ name: 'qemu-server.conf', size: CONFIG.length }])
    assert.deepEqual(drives, [{ id: 1, name: 'drive-scsi0', size: 4895840, bus: 'scsi', unit: 0, format: 'raw' }])
  })

  test(
    'tells of the guest, its disks, and who wrote the archive; what makes no sense is a warning',
    limits,
    async (t) => {
      const dir = tmpDir(t)
      const { disk } = writeGuest(dir)
      const machine = {
        ...{
          version: 1,
          from: 'qemu',
          name: 'web\x1b[2J',
          uuid: '0bd1ab4e-3d38-4a7c-9b1e-d2f4a3f0a001',
          memory: 2 ** 31,
        },
        ...{ cpu: { sockets: 1, cores: 2 }, firmware: { kind: 'uefi', secureBoot: true }, type: 'pc-q35-7.2' },
        disks: [{ drive: 'drive-scsi0', bus: 'scsi', unit: 0, format: 'qcow2' }],
        networks: [{ model: 'virtio', mac: '52:54:00:12:34:56' }],
      }
      const backUp = async (name: string, text: string) => {
        writeFileSync(join(dir, 'guest.json'), text)
        await vmapipe(['backup', '-d', `drive-scsi0=${disk}`, '-c', join(dir, 'guest.json'), '-o', join(dir, name)])
        return join(dir, name)
      }
      const archive = await backUp('a.vma', JSON.stringify(machine))
      const { stdout, stderr } = await vmapipe(['list', archive])
      assert.equal(stderr, '')
      assert.deepEqual(stdout.toString().split('\n').slice(3, -1), [
        'GUEST: web\\u{1b}[2J, uuid 0bd1ab4e-3d38-4a7c-9b1e-d2f4a3f0a001, 2.0 GiB of memory, 2 processors, pc-q35-7.2, UEFI with Secure Boot',
        'DISK: devname: drive-scsi0 bus: scsi0 format: qcow2',
        'NET: virtio 52:54:00:12:34:56',
        'TOOL: vmapipe 0.1.0',
      ])
      const json = JSON.parse((await vmapipe(['list', '--json', archive])).stdout.toString())
      assert.deepEqual(json.drives, [
        { id: 1, name: 'drive-scsi0', size: 4895840, bus: 'scsi', unit: 0, format: 'qcow2' },
      ])
      assert.deepEqual(
        [json.machine.name, json.machine.processors, json.tool, json.encrypted],
        [...['web\x1b[2J', 2, 'vmapipe 0.1.0', null]],
      )
      const odd = await vmapipe(['list', await backUp('b.vma', '{')])
      assert.equal(odd.code, 0)
      assert.match(odd.stderr, /^WARNING: what the archive says of its guest makes no sense/)
    },
  )

  test('--config prints a config file as it is', limits, async (t) => {
    const dir = tmpDir(t)
    const { config } = writeGuest(dir)
    const archive = join(dir, 'a.vma')
    await vmapipe(['backup', '-c', config, '-o', archive])
    assert.equal((await vmapipe(['list', '--config', 'qemu-server.conf', archive])).stdout.toString(), CONFIG)
    assert.equal((await vmapipe(['list', archive, '--config', 'none'])).code, 2)
  })

  test('a terminal does not get control characters of a config file', { ...limits, ...needs('script') }, async (t) => {
    const dir = tmpDir(t)
    writeFileSync(join(dir, 'evil'), 'a\x1b[2Jb\n')
    writeFileSync(join(dir, 'plain'), 'é\tb\n')
    const archive = join(dir, 'a.vma')
    await vmapipe(['backup', '-c', join(dir, 'evil'), '-c', join(dir, 'plain'), '-o', archive])
    const onTerminal = (name: string) =>
      spawnSync('script', ['-qec', `${process.execPath} ${LAUNCHER} list --config ${name} ${archive}`, '/dev/null'], {
        encoding: 'utf8',
      })
    assert.equal(onTerminal('plain').stdout, 'é\tb\r\n')
    const { status, stdout } = onTerminal('evil')
    assert.equal(status, 2)
    assert.match(stdout, /the config file .evil. has control characters/)
  })

  test('reads the header and lets go: the rest of the archive need never come', limits, async (t) => {
    const dir = tmpDir(t)
    const { disk } = writeGuest(dir)
    const { stdout: archive } = await vmapipe(['backup', '-d', `d=${disk}`, '-o', '-'])
    const child = startCli(['list', '-'])
    child.stdin.on('error', () => {})
    // The input stays open; a pipe is read in pieces of 1 MiB.
    child.stdin.write(archive.subarray(0, 1_200_000))
    let text = ''
    child.stdout.on('data', (data) => {
      text += data
    })
    const [code] = await once(child, 'close')
    assert.equal(code, 0)
    assert.match(text, /^DEV: dev_id=1 size: 4895840 devname: d\nCTIME: /)
  })

  test('a header that is damaged is exit code 3', limits, async (t) => {
    const dir = tmpDir(t)
    const { disk } = writeGuest(dir)
    const { stdout: archive } = await vmapipe(['backup', '-d', `d=${disk}`, '-o', '-'])
    archive[100] ^= 1
    const outcome = await vmapipe(['list', '-'], { input: archive })
    assert.equal(outcome.code, 3)
    oneLine(outcome)
  })
})

describe('config', () => {
  test('prints the bytes as they are: the one named, the usual one, or the only one', limits, async (t) => {
    const dir = tmpDir(t)
    const { config } = writeGuest(dir)
    const binary = Buffer.from(Array.from({ length: 256 }, (_, index) => index))
    writeFileSync(join(dir, 'a.fw'), binary)
    const both = join(dir, 'both.vma')
    const one = join(dir, 'one.vma')
    await vmapipe(['backup', '-c', `other=${join(dir, 'a.fw')}`, '-c', config, '-o', both])
    await vmapipe(['backup', '-c', join(dir, 'a.fw'), '-o', one])
    assert.equal((await vmapipe(['config', both])).stdout.toString(), CONFIG)
    assert.deepEqual((await vmapipe(['config', both, '-c', 'other'])).stdout, binary)
    assert.deepEqual((await vmapipe(['config', one])).stdout, binary)
    const missing = await vmapipe(['config', both, '-c', 'none'])
    assert.equal(missing.code, 2)
    assert.match(oneLine(missing), /no config file 'none'; it has other and qemu-server\.conf/)
  })
})
