import assert from 'node:assert/strict'
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { backup } from '../../src/operations/backup.ts'
import { restoreConfigs } from '../../src/operations/restore-configs.ts'
import { restoreQemu } from '../../src/operations/restore-qemu.ts'
import { vmapipe } from '../cli/cli.ts'
import { tmpDir } from '../support/tmp.ts'

const limits = { timeout: 120_000 }
const MACHINE = '{"version":1,"from":"qemu","memory":1048576,"disks":[{"drive":"d","bus":"virtio"}]}'

async function archive(dir: string, configs: Record<string, string>, name = 'a.vma.zst'): Promise<string> {
  const disk = join(dir, 'disk.raw')
  writeFileSync(disk, Buffer.alloc(300_000, 'x'))
  const paths = Object.fromEntries(
    Object.entries(configs).map(([name, text], index) => {
      writeFileSync(join(dir, `config${index}`), text)
      return [name, join(dir, `config${index}`)]
    }),
  )
  await backup({ drives: { d: disk }, configs: paths, to: join(dir, name) })
  return join(dir, name)
}

test('config files are restored alone, all of them or none', limits, async (t) => {
  const dir = tmpDir(t)
  const from = await archive(dir, { 'qemu-server.conf': 'cores: 2\n', 'guest.json': MACHINE })
  const into = join(dir, 'configs')
  assert.deepEqual(await restoreConfigs({ from, into, mode: '0640' }), ['qemu-server.conf', 'guest.json'])
  assert.deepEqual(readdirSync(into).sort(), ['guest.json', 'qemu-server.conf'])
  assert.equal(readFileSync(join(into, 'qemu-server.conf'), 'utf8'), 'cores: 2\n')
  assert.equal(statSync(join(into, 'guest.json')).mode & 0o777, 0o640)
  const other = join(dir, 'other')
  await restoreConfigs({ from, into: other })
  const { unlinkSync } = await import('node:fs')
  unlinkSync(join(other, 'qemu-server.conf'))
  await assert.rejects(restoreConfigs({ from, into: other }), /exists/)
  assert.deepEqual(readdirSync(other), ['guest.json'])
  const { code, stderr } = await vmapipe(['restore', from, join(dir, 'cli'), '--configs-only'])
  assert.equal(code, 0, stderr)
  assert.deepEqual(readdirSync(join(dir, 'cli')).sort(), ['guest.json', 'qemu-server.conf'])
  assert.equal((await vmapipe(['restore', from, '--configs-only'])).code, 2)
})

test('run.sh is written beside the images, and names what could not be as it was', limits, async (t) => {
  const dir = tmpDir(t)
  const from = await archive(dir, { 'guest.json': MACHINE.replace('virtio', 'other') })
  const into = join(dir, 'vm')
  const { code, stderr } = await vmapipe(['restore', from, into, '--qemu', '--mode', '0640'])
  assert.equal(code, 0, stderr)
  assert.match(stderr, /WARNING: .*run\.sh: nothing is known of the bus of 'd': it is a virtio disk/)
  assert.deepEqual(readdirSync(into).sort(), ['disk-d.raw', 'guest.json', 'run.sh'])
  assert.equal(statSync(join(into, 'run.sh')).mode & 0o777, 0o750)
  assert.match(readFileSync(join(into, 'run.sh'), 'utf8'), /^# - nothing is known of the bus of 'd'/m)
})

test('nothing is written if no script can be made, or one is there', limits, async (t) => {
  const dir = tmpDir(t)
  const into = join(dir, 'vm')
  const untold = await archive(dir, {}, 'untold.vma')
  await assert.rejects(restoreQemu({ from: untold, into }), { code: 'FAILED', hint: /without --qemu/ })
  const odd = await archive(dir, { 'guest.json': '{"version":2}' }, 'odd.vma')
  await assert.rejects(restoreQemu({ from: odd, into }), { code: 'DAMAGED' })
  const hostile = await archive(dir, { 'guest.json': MACHINE, 'run.sh': 'evil' }, 'hostile.vma')
  await assert.rejects(restoreQemu({ from: hostile, into }), { code: 'DAMAGED', message: /called run\.sh/ })
  assert.ok(!existsSync(into))
  const from = await archive(dir, { 'guest.json': MACHINE })
  await restoreQemu({ from, into })
  await assert.rejects(restoreQemu({ from, into }), { code: 'USAGE', message: /run\.sh' exists/ })
  await restoreQemu({ from, into, force: true })
})
