import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync, statSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { openDisk } from '../../src/storage/open-disk.ts'
import { tmpDir } from '../support/tmp.ts'
import { needs } from '../support/tools.ts'
import { LAUNCHER, oneLine, startCli, vmapipe } from './cli.ts'
import { CONFIG, sha256, writeGuest } from './guest.ts'

const limits = { timeout: 120_000 }

test('the compression follows the name, and every archive restores to the same bytes', limits, async (t) => {
  const dir = tmpDir(t)
  const guest = writeGuest(dir)
  for (const suffix of ['vma', 'vma.zst', 'vma.lz4', 'vma.gz']) {
    const archive = join(dir, `a.${suffix}`)
    const made = await vmapipe(['backup', '-d', `drive-scsi0=${guest.disk}`, '-c', guest.config, '-o', archive])
    assert.equal(made.code, 0, made.stderr)
    assert.equal(made.stdout.length, 0)
    assert.match(made.stderr, /^INFO: [-0-9]+ [:0-9]+ backed up 4\.7 MiB of 1 drive in /m)
    const into = join(dir, suffix)
    const restored = await vmapipe(['restore', archive, into])
    assert.equal(restored.code, 0, restored.stderr)
    assert.deepEqual(readdirSync(into).sort(), ['disk-drive-scsi0.raw', 'qemu-server.conf'])
    assert.equal(sha256(join(into, 'disk-drive-scsi0.raw')), guest.sha256)
    assert.equal(readFileSync(join(into, 'qemu-server.conf'), 'utf8'), CONFIG)
  }
  assert.ok(statSync(join(dir, 'a.vma.zst')).size < statSync(join(dir, 'a.vma')).size)
})

test('archives that say zstd, lz4 and gzip are that to the real tools', {
  ...limits,
  ...needs('zstd', 'lz4', 'gzip'),
}, async (t) => {
  const dir = tmpDir(t)
  const { disk } = writeGuest(dir)
  for (const [suffix, tool] of Object.entries({ zst: 'zstd', lz4: 'lz4', gz: 'gzip' })) {
    const archive = join(dir, `a.vma.${suffix}`)
    assert.equal((await vmapipe(['backup', '-d', `d=${disk}`, '-o', archive, '-q'])).code, 0)
    assert.equal(spawnSync(tool, ['-t', archive]).status, 0, tool)
  }
})

test('an archive goes out on standard output and comes in on standard input', limits, async (t) => {
  const dir = tmpDir(t)
  const guest = writeGuest(dir)
  const made = await vmapipe(['backup', '-d', `drive-scsi0=${guest.disk}`, '-o', '-', '--compress', 'zstd:1'])
  assert.equal(made.code, 0, made.stderr)
  assert.equal(made.stdout.readUInt32LE(0), 0xfd2fb528)
  const plain = await vmapipe(['backup', '-d', `drive-scsi0=${guest.disk}`, '-o', '-', '--quiet'])
  assert.equal(plain.stdout.toString('latin1', 0, 4), 'VMA\0')
  assert.equal(plain.stderr, '')
  for (const input of [made.stdout, plain.stdout]) {
    const into = join(dir, `out-${input.length}`)
    const restored = await vmapipe(['restore', '-', into], { input })
    assert.equal(restored.code, 0, restored.stderr)
    assert.equal(sha256(join(into, 'disk-drive-scsi0.raw')), guest.sha256)
  }
})

test('one drive of several is restored where the user says', limits, async (t) => {
  const dir = tmpDir(t)
  const guest = writeGuest(dir)
  const archive = join(dir, 'a.vma')
  const drives = ['-d', `drive-scsi0=${guest.disk}`, '-d', `drive-scsi1=${guest.config}`]
  assert.equal((await vmapipe(['backup', ...drives, '-o', archive])).code, 0)
  const target = join(dir, 'here.raw')
  assert.equal((await vmapipe(['restore', archive, '--drive', `drive-scsi0=${target}`])).code, 0)
  assert.equal(sha256(target), guest.sha256)
  const unknown = await vmapipe(['restore', archive, '--drive', `drive-scsi7=${target}x`])
  assert.equal(unknown.code, 2)
  assert.match(oneLine(unknown), /no drive 'drive-scsi7'.*drive-scsi0/)
})

test('what exists is not overwritten without --force', limits, async (t) => {
  const dir = tmpDir(t)
  const { disk } = writeGuest(dir)
  const archive = join(dir, 'a.vma')
  writeFileSync(archive, 'precious')
  const refused = await vmapipe(['backup', '-d', `d=${disk}`, '-o', archive])
  assert.ok(refused.code === 1 || refused.code === 2)
  assert.match(oneLine(refused), /--force/)
  assert.equal(readFileSync(archive, 'utf8'), 'precious')
  assert.equal((await vmapipe(['backup', '-d', `d=${disk}`, '-o', archive, '--force'])).code, 0)
  assert.notEqual(readFileSync(archive, 'latin1').slice(0, 8), 'precious')
})

test('a damaged or cut archive is exit code 3, from verify as from restore', limits, async (t) => {
  const dir = tmpDir(t)
  const { disk } = writeGuest(dir)
  const archive = join(dir, 'a.vma')
  assert.equal((await vmapipe(['backup', '-d', `drive-scsi0=${disk}`, '-o', archive])).code, 0)
  const whole = await vmapipe(['verify', archive])
  assert.equal(whole.code, 0, whole.stderr)
  assert.match(
    whole.stdout.toString(),
    /^drive-scsi0: +complete +4\.7 MiB +75 clusters .*\nthe archive is whole: 1 drive and 0 config files/,
  )
  truncateSync(archive, 500_000)
  const cut = await vmapipe(['verify', archive])
  assert.equal(cut.code, 3)
  assert.match(cut.stderr, /^vmapipe: .*ends within .*byte \d+\)\nvmapipe: .*75 of 75 clusters missing.*\n$/)
  assert.match(
    cut.stdout.toString(),
    /^drive-scsi0: +4\.7 MiB missing .*\ndrive drive-scsi0, bytes 0 to \d+: missing\nthe archive is damaged\n$/,
  )
  const refused = await vmapipe(['restore', archive, join(dir, 'out')])
  assert.equal(refused.code, 3)
  assert.match(oneLine(refused), /has no end: it was cut.*nothing was written; --salvage/)
  assert.ok(!existsSync(join(dir, 'out')))
  const noise = await vmapipe(['verify', disk])
  assert.equal(noise.code, 3)
  oneLine(noise)
})

test('SIGINT and SIGTERM end in good order: 130, one line, nothing left behind', limits, async (t) => {
  const dir = tmpDir(t)
  const { disk } = writeGuest(dir)
  for (const name of ['SIGINT', 'SIGTERM'] as const) {
    const child = startCli([
      'backup',
      '-d',
      `d=${disk}`,
      '-o',
      join(dir, 'x.vma'),
      '--bwlimit',
      '100KiB/s',
      '--progress',
      'json',
    ])
    let stderr = ''
    child.stderr.on('data', (data) => {
      stderr += data
    })
    while (!stderr.includes('"progress"')) await once(child.stderr, 'data')
    child.kill(name)
    const [code] = await once(child, 'close')
    assert.equal(code, 130, stderr)
    const last = JSON.parse(stderr.trim().split('\n').at(-1)!)
    assert.deepEqual([last.type, last.code, last.exitCode], ['error', 'ABORTED', 130])
    assert.deepEqual(readdirSync(dir).sort(), ['disk.raw', 'qemu-server.conf'])
  }
})

test('a config file may come out of a command', { ...limits, ...needs('bash') }, async (t) => {
  const dir = tmpDir(t)
  const { disk } = writeGuest(dir)
  const backup = `exec '${process.execPath}' '${LAUNCHER}' backup -q -d 'd=${disk}' -o vm.vma -c 'vm.conf='`
  execFileSync('bash', ['-c', `${backup}<(echo 'name: from a pipe')`], { cwd: dir })
  assert.equal((await vmapipe(['config', join(dir, 'vm.vma')])).stdout.toString(), 'name: from a pipe\n')
})

test('a reader that goes away is one line and exit code 1', limits, async (t) => {
  const dir = tmpDir(t)
  const { disk } = writeGuest(dir)
  const child = startCli(['backup', '-d', `d=${disk}`, '-o', '-', '--progress', 'none'])
  child.stdout.destroy()
  let stderr = ''
  child.stderr.on('data', (data) => {
    stderr += data
  })
  const [code] = await once(child, 'close')
  assert.equal(code, 1)
  assert.match(stderr, /^vmapipe: [^\n]+\n$/)
})

test('an archive is never printed on a terminal', { ...limits, ...needs('script') }, async (t) => {
  const dir = tmpDir(t)
  const { disk } = writeGuest(dir)
  const { LAUNCHER } = await import('./cli.ts')
  const command = `${process.execPath} ${LAUNCHER} backup -d d=${disk} -o -`
  const { status, stdout } = spawnSync('script', ['-qec', command, '/dev/null'], { encoding: 'utf8' })
  assert.equal(status, 2)
  assert.match(stdout, /terminal/)
  assert.ok(!stdout.includes('VMA\0'))
})

test('an image in use is backed up with --force-share alone, and without a running guest', {
  ...limits,
}, async (t) => {
  const dir = tmpDir(t)
  const { disk } = writeGuest(dir)
  const serving = await openDisk(disk)
  t.after(() => serving.close())
  const args = ['backup', '-d', `drive-scsi0=${disk}`, '-o', join(dir, 'a.vma'), '-q']
  const refused = await vmapipe(args)
  assert.equal(refused.code, 1)
  assert.match(oneLine(refused), /in use by process \d+ .*--qmp SOCKET.*--attach CONTROL.*--force-share/)
  assert.equal(existsSync(join(dir, 'a.vma')), false)
  assert.equal((await vmapipe([...args, '--force-share'])).code, 0)
  const config = join(dir, 'p.yaml')
  const source = (share: boolean) => `{ drives: { a: ${disk} }, forceShare: ${share} }`
  for (const share of [false, true]) {
    writeFileSync(
      config,
      `stages:\n  - cluster-source: ${source(share)}\n  - vma-framer\n  - sink: { to: ${dir}/${share}.vma }\n`,
    )
    assert.equal((await vmapipe(['run', config, '-q'])).code, share ? 0 : 1)
  }
  for (const guest of [
    ['--attach', join(dir, 'ctl')],
    ['--qmp', join(dir, 'qmp')],
    ['--libvirt', 'vm1'],
  ]) {
    const outcome = await vmapipe(['backup', ...guest, '-o', join(dir, 'b.vma'), '--force-share'])
    assert.equal(outcome.code, 2)
    assert.match(oneLine(outcome), /--force-share is for images/)
  }
})

test('one disk is no target of two drives', limits, async (t) => {
  const dir = tmpDir(t)
  const { disk } = writeGuest(dir)
  const archive = join(dir, 'a.vma')
  assert.equal((await vmapipe(['backup', '-d', `a=${disk}`, '-d', `b=${disk}`, '-o', archive, '-q'])).code, 0)
  symlinkSync(join(dir, 'x'), join(dir, 'y'))
  writeFileSync(join(dir, 'x'), 'old')
  const twice = await vmapipe(['restore', archive, '-d', `a=${join(dir, 'x')}`, '-d', `b=${join(dir, 'y')}`, '--force'])
  assert.equal(twice.code, 2)
  assert.match(oneLine(twice), /the drives a and b are one and the same disk/)
  assert.equal(readFileSync(join(dir, 'x'), 'utf8'), 'old')
})
