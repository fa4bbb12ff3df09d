import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { type TestContext, test } from 'node:test'
import { tmpDir } from '../support/tmp.ts'
import { LAUNCHER, oneLine, vmapipe } from './cli.ts'

/** The demo takes its seconds, and more of them where tests run side by side. */
const timeout = 120_000

function startDemo(t: TestContext, args: string[], TMPDIR: string) {
  const env = { ...process.env, NO_COLOR: '1', TMPDIR }
  const child = spawn(process.execPath, [LAUNCHER, 'demo', ...args], { env, stdio: ['ignore', 'pipe', 'pipe'] })
  t.after(() => child.kill('SIGKILL'))
  return {
    child,
    ended: Promise.all([once(child, 'exit'), text(child.stdout), text(child.stderr)]).then(
      ([[code], stdout, stderr]) => ({ code, stdout, stderr }),
    ),
  }
}

test('the demo backs up a guest that writes, and finds the point in time in what it restores', {
  timeout,
}, async (t) => {
  const dir = tmpDir(t)
  const keep = join(dir, 'kept')
  const { code, stdout, stderr } = await startDemo(t, ['--keep', keep], dir).ended
  assert.equal(code, 0, stderr)
  for (const command of [
    'serve -d drive-scsi0=drive-scsi0.raw -d drive-scsi1=drive-scsi1.raw --socket vm.nbd --control vm.ctl',
    'backup --attach vm.ctl -c qemu-server.conf -o vm.vma.zst',
    'verify vm.vma.zst',
    'restore vm.vma.zst restored/',
  ]) {
    assert.ok(stdout.split('\n').includes(`  $ vmapipe ${command}`), command)
  }
  const [, total, scanned, copied] = /of (\d+) clusters (\d+) were scanned, (\d+) copied/.exec(stdout)!.map(Number)
  assert.equal(scanned + copied, total)
  assert.ok(copied > 0, 'the guest came before the scan somewhere')
  for (const phase of ['before', 'during the backup', 'after'])
    assert.match(stdout, new RegExp(`^  ${phase} +[1-9]\\d* +[1-9]\\d* +[\\d.]+ ms +[\\d.]+ ms +[\\d.]+ ms$`, 'm'))
  assert.match(stdout, /all [1-9]\d* writes acknowledged\n +before it are there, none of the [1-9]\d* begun after it/)
  assert.match(stdout, /the guest's own drives have all of its [1-9]\d* writes/)

  // Everything is there to look at, and nothing is left open or beside it.
  assert.deepEqual(readdirSync(dir), ['kept'])
  const kept = ['at-rest.vma.zst', 'drive-scsi0.raw', 'drive-scsi1.raw', 'qemu-server.conf', 'restored', 'vm.vma.zst']
  assert.deepEqual(readdirSync(keep).sort(), kept)
  assert.equal((await vmapipe(['verify', join(keep, 'vm.vma.zst')])).code, 0)
  assert.equal(statSync(join(keep, 'restored', 'disk-drive-scsi0.raw')).size, 512 << 20)
  assert.match(oneLine(await vmapipe(['demo', '--keep', keep])), /not empty/)
})

test('a demo that is interrupted during the backup leaves nothing behind', { timeout }, async (t) => {
  const dir = tmpDir(t)
  const { child, ended } = startDemo(t, [], dir)
  let said = ''
  child.stdout.on('data', (data) => {
    said += data
    if (said.includes('backup --attach')) setTimeout(() => child.kill('SIGTERM'), 500)
  })
  const { code, stderr } = await ended
  assert.equal(code, 130, stderr)
  assert.deepEqual(readdirSync(dir), [])
})
