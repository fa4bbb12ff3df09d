import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, globSync, readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { test } from 'node:test'
import { loadPipeline } from '../../src/config/load.ts'
import { vmapipe } from '../cli/cli.ts'
import { CONFIG, sha256, writeGuest } from '../cli/guest.ts'
import { SSH_HOST, startSshd } from '../support/sshd.ts'
import { tmpDir } from '../support/tmp.ts'
import { needs } from '../support/tools.ts'
import { FOLDER, run, succeeds } from './running.ts'

const limits = { timeout: 60_000 }

function restoredWhole(dir: string, guest: ReturnType<typeof writeGuest>): void {
  assert.equal(sha256(join(dir, 'disk-drive-scsi0.raw')), guest.sha256)
  assert.equal(readFileSync(join(dir, 'qemu-server.conf'), 'utf8'), CONFIG)
}

const FILES: [pipeline: string, suffix: string, params?: Record<string, string>][] = [
  ['backup-file.yaml', 'vma'],
  ['backup-zstd.yaml', 'vma.zst', { LEVEL: '-1' }],
  ['backup-lz4.yaml', 'vma.lz4'],
  ['backup-gzip.yaml', 'vma.gz', { LEVEL: '1' }],
]

for (const [pipeline, suffix, params] of FILES) {
  test(`${pipeline} makes an archive that verify.yaml and restore-file.yaml take`, limits, async (t) => {
    const dir = tmpDir(t)
    const guest = writeGuest(dir)
    const ARCHIVE = join(dir, `vm.${suffix}`)
    await succeeds(run(pipeline, { DISK: guest.disk, CONFIG: guest.config, ARCHIVE, ...params }))
    await succeeds(run('verify.yaml', { ARCHIVE }))
    await succeeds(run('restore-file.yaml', { ARCHIVE, DIR: join(dir, 'out') }))
    restoredWhole(join(dir, 'out'), guest)
  })
}

test('backup-stdout.yaml and restore-stdin.yaml work through a pipe', limits, async (t) => {
  const dir = tmpDir(t)
  const guest = writeGuest(dir)
  const archive = await succeeds(run('backup-stdout.yaml', { DISK: guest.disk, CONFIG: guest.config, METHOD: 'lz4' }))
  assert.equal(archive.readUInt32LE(0), 0x184d2204)
  await succeeds(run('restore-stdin.yaml', { DIR: join(dir, 'out') }, archive))
  restoredWhole(join(dir, 'out'), guest)
})

test('backup-ssh.yaml and restore-ssh.yaml go to another machine and back', {
  ...limits,
  ...needs('sshd', 'ssh', 'ssh-keygen'),
}, async (t) => {
  const dir = tmpDir(t)
  const guest = writeGuest(dir)
  const { home } = await startSshd(t)
  const TARGET = `ssh://${SSH_HOST}${home}/vm.vma.zst`
  await succeeds(run('backup-ssh.yaml', { DISK: guest.disk, CONFIG: guest.config, TARGET, RATE: '50MiB' }))
  assert.ok(existsSync(join(home, 'vm.vma.zst')))
  await succeeds(run('restore-ssh.yaml', { SOURCE: TARGET, DIR: join(dir, 'out') }))
  restoredWhole(join(dir, 'out'), guest)
})

test('custom-stage.ts writes a sum that sha256sum agrees with', { ...limits, ...needs('sha256sum') }, async (t) => {
  const dir = tmpDir(t)
  const guest = writeGuest(dir)
  const ARCHIVE = join(dir, 'vm.vma.zst')
  await succeeds(run('custom-stage.ts', { DISK: guest.disk, ARCHIVE }))
  const { status, stdout } = spawnSync('sha256sum', ['-c', 'vm.vma.zst.sha256'], { cwd: dir, encoding: 'utf8' })
  assert.equal(status, 0)
  assert.equal(stdout, 'vm.vma.zst: OK\n')
  await succeeds(run('restore-file.yaml', { ARCHIVE, DIR: join(dir, 'out') }))
})

test(
  'every pipeline is one of those that are tested here, says how it is run, and is good as it stands',
  limits,
  async () => {
    const names = [
      'DISK',
      'CONFIG',
      'ARCHIVE',
      'TARGET',
      'SOURCE',
      'DIR',
      'CONTROL',
      'QMP',
      'DOMAIN',
      'RECIPIENT',
      'KEY',
    ]
    const env = Object.fromEntries([...names, 'DEVICE0', 'DEVICE1'].map((name) => [name, 'x']))
    const tests = globSync('*.test.ts', { cwd: import.meta.dirname })
    const source = tests.map((name) => readFileSync(join(import.meta.dirname, name), 'utf8')).join('')
    const files = globSync('*.{yaml,ts}', { cwd: FOLDER })
    assert.ok(files.length >= 11)
    for (const file of files) {
      assert.ok(source.includes(`'${file}'`), `${file} is run by a test`)
      const text = readFileSync(join(FOLDER, file), 'utf8')
      assert.match(text, new RegExp(`vmapipe run pipelines/${basename(file)}`))
      if (file.endsWith('.yaml')) assert.match(text, /^# yaml-language-server: \$schema=\.\/pipeline\.schema\.json\n/)
      const { pipeline } = await loadPipeline(join(FOLDER, file), { env })
      assert.ok(pipeline.stages.length > 2)
    }
  },
)

test('--check says what a pipeline would do, and does nothing', limits, async (t) => {
  const dir = tmpDir(t)
  const params = ['--set', 'DISK=x', '--set', 'CONFIG=x', '--set', `ARCHIVE=${join(dir, 'a.vma')}`]
  const { code, stdout } = await vmapipe(['run', '--check', join(FOLDER, 'backup-file.yaml'), ...params])
  assert.equal(code, 0)
  assert.match(stdout.toString(), /backup-file\.yaml: good: cluster-source → zero-elider → vma-framer → sink\n$/)
  assert.ok(!existsSync(join(dir, 'a.vma')))
})
