import assert from 'node:assert/strict'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { listLines } from '../../src/cli/commands/list.ts'
import { Manifest } from '../../src/core/items.ts'
import { golden, goldenPath, needsGolden } from '../support/golden.ts'
import { tmpDir } from '../support/tmp.ts'
import { oneLine, startCli, vmapipe } from './cli.ts'
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
    assert.deepEqual(drives, [{ id: 1, name: 'drive-scsi0', size: 4895840 }])
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
