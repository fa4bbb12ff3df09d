import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { chmodSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { backup } from '../../src/operations/backup.ts'
import { tmpDir } from '../support/tmp.ts'
import { lacking, needs } from '../support/tools.ts'
import { LAUNCHER, startCli, vmapipe } from './cli.ts'

const timeout = 120_000
const MIB = 1 << 20

async function made(t: Parameters<typeof tmpDir>[0], size = 65_536): Promise<{ dir: string; archive: string }> {
  const dir = tmpDir(t)
  writeFileSync(join(dir, 'disk.raw'), Buffer.alloc(size, 1))
  writeFileSync(join(dir, 'vm.conf'), 'password: x')
  const archive = join(dir, 'a.vma')
  await backup({ drives: { d: join(dir, 'disk.raw') }, configs: { 'vm.conf': join(dir, 'vm.conf') }, to: archive })
  return { dir, archive }
}

const modeOf = (path: string) => (statSync(path).mode & 0o777).toString(8)

for (const umask of ['000', '022', '077', '277']) {
  test(`with an umask of ${umask} what is made is its owner's alone`, { timeout, ...needs('qemu-img') }, async (t) => {
    const { dir, archive } = await made(t)
    writeFileSync(join(dir, 'old.raw'), 'old', { mode: 0o644 })
    const run = (...args: string[]) => {
      const script = `umask ${umask}; exec "$@" -q`
      const { status, stderr } = spawnSync('/bin/sh', ['-c', script, '-', process.execPath, LAUNCHER, ...args], {
        cwd: dir,
        encoding: 'utf8',
        env: { ...process.env, HOME: dir },
      })
      assert.equal(status, 0, stderr)
    }
    run('backup', '-d', 'd=disk.raw', '-o', 'b.vma.zst')
    run('restore', archive, 'above/out')
    run('restore', archive, '-d', 'd=qcow2:d.qcow2')
    run('restore', archive, '-d', 'd=old.raw', '--force')
    for (const file of ['b.vma.zst', 'above/out/disk-d.raw', 'above/out/vm.conf', 'd.qcow2', 'old.raw']) {
      assert.equal(modeOf(join(dir, file)), '600', file)
    }
    for (const folder of ['above', 'above/out']) assert.equal(modeOf(join(dir, folder)), '700', folder)
  })
}

test('--mode says otherwise, of what has its name and of the folder that was made', { timeout }, async (t) => {
  const { dir, archive } = await made(t, 4 * MIB)
  const child = startCli(['restore', archive, join(dir, 'out'), '--mode', '0640', '--bwlimit', '4MiB/s', '-q'])
  let seen = 0
  while (child.exitCode === null) {
    for (const name of list(join(dir, 'out'))) {
      if (!name.endsWith('.partial')) continue
      const mode = statSync(join(dir, 'out', name), { throwIfNoEntry: false })?.mode
      if (mode !== undefined) seen |= mode & 0o777
    }
    await sleep(5)
  }
  assert.equal(child.exitCode, 0)
  assert.ok(seen === 0o600 || seen === 0o640, `${seen}`)
  for (const file of ['disk-d.raw', 'vm.conf']) assert.equal(modeOf(join(dir, 'out', file)), '640')
  assert.equal(modeOf(join(dir, 'out')), '750')
})

test('a mode that is none, or shuts the owner out, is refused', { timeout }, async (t) => {
  const { dir, archive } = await made(t)
  for (const mode of ['999', '0044', 'rw', '17777']) {
    const { code, stderr } = await vmapipe(['restore', archive, join(dir, 'out'), '--mode', mode])
    assert.equal(code, 2, mode)
    assert.match(stderr, /is not a mode/)
  }
  assert.ok(!list(dir).includes('out'))
})

test('a folder that may be written and not be listed does', { timeout, ...needs('setpriv') }, async (t) => {
  if (process.getuid?.() !== 0) return lacking(t, 'needs root to be somebody else')
  const { dir, archive } = await made(t)
  chmodSync(dir, 0o755)
  for (const file of [archive, join(dir, 'disk.raw')]) chmodSync(file, 0o644)
  const blind = join(dir, 'blind')
  mkdirSync(blind)
  spawnSync('chown', ['65534', blind])
  chmodSync(blind, 0o300)
  const other = (...args: string[]) => {
    const as = ['--reuid=65534', '--regid=65534', '--clear-groups', process.execPath, LAUNCHER]
    const { status, stderr } = spawnSync('setpriv', [...as, ...args, '-q'], { cwd: dir, encoding: 'utf8' })
    assert.equal(status, 0, stderr)
  }
  other('backup', '-d', 'd=disk.raw', '-o', 'blind/b.vma')
  other('restore', archive, '-d', 'd=blind/d.raw')
  other('restore', archive, 'blind/new')
  assert.ok(readFileSync(join(blind, 'd.raw')).equals(readFileSync(join(dir, 'disk.raw'))))
  assert.deepEqual(list(blind), ['b.vma', 'd.raw', 'new'])
})

function list(folder: string): string[] {
  try {
    return readdirSync(folder).sort()
  } catch {
    return []
  }
}
