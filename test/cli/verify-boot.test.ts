/** `verify --boot` on the command line: what is kept beside the archive, exit codes, and what is left when it is killed. */

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { readAnnotations } from '../../src/catalog/annotations.ts'
import { backup } from '../../src/operations/backup.ts'
import { until } from '../storage/archive/processes.ts'
import { makeBootable, needsBootable } from '../support/guest/bootable.ts'
import { tmpDir } from '../support/tmp.ts'
import { oneLine, startCli, vmapipe } from './cli.ts'

const limits = { timeout: 600_000 }

test('a guest that does not boot: exit code 3, the check and the picture beside the archive', {
  ...limits,
  ...needsBootable('bios'),
}, async (t) => {
  const dir = tmpDir(t)
  makeBootable(t, join(dir, 'disk'), { firmware: 'bios', behaviour: 'off' })
  const archive = join(dir, 'vm.vma.zst')
  await backup({ drives: { 'drive-virtio0': join(dir, 'disk') }, to: archive })
  const flags = ['--accel', 'tcg', '--memory', '256MiB', '--quiet', '--screen', join(dir, 'copy.png')]
  // A busy machine may take longer than a command of these tests may.
  const child = startCli(['verify', '--boot', ...flags, archive], { longest: 500_000 })
  let stderr = ''
  child.stderr.on('data', (data) => {
    stderr += data
  })
  const [code] = await once(child, 'close')
  assert.match(
    stderr,
    /^vmapipe: the guest does not boot: the guest switched itself off after \d+ s; its screen is in .*copy\.png\n$/,
  )
  assert.equal(code, 3)
  const { checks } = await readAnnotations(archive)
  const [{ kind, passed, detail, file }] = checks
  assert.deepEqual([kind, passed, file], ['boot', false, 'vm.vma.zst.boot.png'])
  assert.match(detail!, /switched itself off/)
  for (const name of [file!, 'copy.png']) assert.equal(readFileSync(join(dir, name)).toString('latin1', 1, 4), 'PNG')
})

test('killed, it leaves no QEMU, and the next run removes its folders', {
  ...limits,
  ...needsBootable('bios'),
}, async (t) => {
  const dir = tmpDir(t)
  makeBootable(t, join(dir, 'disk'), { firmware: 'bios', behaviour: 'stuck' })
  const archive = join(dir, 'vm.vma.zst')
  await backup({ drives: { 'drive-virtio0': join(dir, 'disk') }, to: archive })
  const scratch = tmpDir(t)
  const args = (memory: string) => [
    'verify',
    '--boot',
    '--accel',
    'tcg',
    '--scratch',
    scratch,
    '--memory',
    memory,
    archive,
  ]
  const child = startCli(args('81MiB'))
  await until(() => running('81M'), 'QEMU runs')
  child.kill('SIGKILL')
  await until(() => !running('81M'), 'QEMU has ended')
  assert.equal(readdirSync(scratch).length, 1)
  const again = startCli(args('83MiB'))
  await until(() => running('83M'), 'QEMU runs again')
  assert.equal(readdirSync(scratch).length, 1, 'the folder of the killed run is gone')
  again.kill('SIGTERM')
  assert.equal((await once(again, 'exit'))[0], 130)
  assert.ok(!running('83M'))
  assert.deepEqual(readdirSync(scratch), [])
  assert.ok(!existsSync(`${archive}.checks`), 'nothing was proven')
})

test('flags of --boot without it, and values that make no sense, are refused', limits, async () => {
  const cases: [string[], RegExp][] = [
    [['--memory', '1GiB'], /--memory is for --boot; add --boot/],
    [['--no-record'], /--no-record is for --boot/],
    [['--boot', '--console-pattern', '('], /it is no regular expression/],
    [['--boot', '--screen-still', '1s'], /write it as 30s, from 2s to 10m, or off/],
    [['--boot', '--firmware', 'efi'], /Allowed choices are bios, uefi/],
  ]
  for (const [flags, line] of cases) {
    const outcome = await vmapipe(['verify', ...flags, 'vm.vma'])
    assert.match(oneLine(outcome), line)
    assert.equal(outcome.code, 2)
  }
})

/** Whether a QEMU runs whose guest has so much memory. */
function running(memory: string): boolean {
  return readdirSync('/proc').some((pid) => {
    if (!/^\d+$/.test(pid)) return false
    try {
      const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')
      return /qemu-system/.test(words[0]) && words[words.indexOf('-m') + 1] === memory
    } catch {
      return false
    }
  })
}
