import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { startCli } from '../../cli/cli.ts'
import { makeBootDisk, needsBootDisk } from '../../support/guest/boot-disk.ts'
import { makeGuestDisk } from '../../support/guest/disk.ts'
import { assertRestoredDisk } from '../../support/guest/filesystem.ts'
import { needsGuest } from '../../support/guest/machine.ts'
import { needsLibvirt } from '../../support/libvirt.ts'
import { consoleOf } from '../../support/libvirt-domain.ts'
import { tmpDir } from '../../support/tmp.ts'
import { brokenVirsh, suiteHost } from './host.ts'

const BOOT_MS = 150_000
const WAIT_MS = 120_000

describe('a live restore of a guest of libvirt', { ...needsLibvirt() }, () => {
  const host = suiteHost()

  /** The archive of a guest that boots and writes records. */
  const writer = async (dir: string, name: string) => {
    const [boot, root] = [join(dir, 'boot.img'), join(dir, 'root.img')]
    makeBootDisk(boot, { role: 'writer' })
    makeGuestDisk(root, name)
    await host.define(dir, { name, disks: [{ file: boot }, { file: root }] })
    return host.archive(dir, name)
  }
  const xmlOf = (name: string, ...more: string[]) => host.libvirt.virsh('dumpxml', name, ...more)

  test('runs the guest at once; after a kill -9 the same command goes on, no write is lost, and it ends on plain images', {
    timeout: 600_000,
    ...needsGuest(),
    ...needsBootDisk(),
  }, async (t) => {
    const dir = tmpDir(t)
    const archive = await writer(dir, 'live')
    const folder = await host.pool(dir, 'live-pool')
    const command = ['restore', archive, '--live', '--define', '--pool', 'live-pool']
    // So slow that the guest boots and writes long before its disks are complete.
    const child = startCli([...command, '--bwlimit', '256KiB/s'], { env: host.env, longest: BOOT_MS + WAIT_MS })
    const ended = once(child, 'close')
    let said = ''
    child.stderr.setEncoding('utf8').on('data', (text) => {
      said += text
    })
    await eventually(
      async () => child.exitCode !== null || (await host.libvirt.virsh('list', '--name')).includes('live'),
      'the guest starts',
    )
    assert.equal(child.exitCode, null, said)
    const first = await consoleOf(t, host.libvirt, 'live')
    await first.waitFor('ACK 3', BOOT_MS, () => child.exitCode !== null)
    assert.match(await xmlOf('live'), /<backingStore type='network'/, 'the disks are not complete yet')

    child.kill('SIGKILL')
    await ended
    assert.match(await host.libvirt.virsh('list', '--all'), /live\s+(running|paused)/)
    const acknowledged = Number(first.matches('ACK (\\d+)').at(-1)![1])
    const again = startCli(command, { env: host.env, longest: WAIT_MS })
    const endedAgain = once(again, 'close')
    let saidAgain = ''
    again.stderr.setEncoding('utf8').on('data', (text) => {
      saidAgain += text
    })
    await eventually(() => /goes on in a new QEMU/.test(saidAgain) || again.exitCode !== null, 'the guest goes on')
    const console = await consoleOf(t, host.libvirt, 'live')
    const [code] = await endedAgain
    assert.equal(code, 0, saidAgain)
    assert.match(saidAgain, /goes on with the restore that was stopped/)
    assert.match(saidAgain, /complete: the domain live .* has plain images/)

    const acked = () => Number(console.matches('ACK (\\d+)').at(-1)![1])
    const atEnd = acked()
    await eventually(() => acked() > atEnd + 3, 'the guest writes on')
    assert.deepEqual([...first.diskErrors, ...console.diskErrors], [])
    assert.ok(acked() > acknowledged, 'it is the same guest, which goes on counting')
    for (const xml of [await xmlOf('live'), await xmlOf('live', '--inactive')]) {
      assert.doesNotMatch(xml, /backingStore type|protocol='nbd'/)
    }
    assert.doesNotMatch(await xmlOf('live', '--inactive'), /error_policy/)
    assert.deepEqual(readdirSync(folder).sort(), ['live-vda.qcow2', 'live-vdb.qcow2'])
    const before = acked()
    await host.libvirt.virsh('destroy', 'live')
    await sleep(200)
    const begun = acked() + 1
    const image = join(dir, 'after.raw')
    for (const name of readdirSync(folder)) {
      const info = JSON.parse(
        execFileSync('qemu-img', ['info', '--output=json', join(folder, name)], { encoding: 'utf8' }),
      )
      assert.equal(info['backing-filename'], undefined, 'the image stands alone')
    }
    execFileSync('qemu-img', ['convert', '-O', 'raw', join(folder, 'live-vdb.qcow2'), image])
    assertRestoredDisk(t, image, { acked: before, begun })
  })

  test('leaves nothing if the guest does not start, and completes images of a guest that is off', {
    timeout: 300_000,
    ...needsGuest(),
    ...needsBootDisk(),
  }, async (t) => {
    const dir = tmpDir(t)
    const archive = await writer(dir, 'unstarted')
    const folder = await host.pool(dir, 'unstarted-pool')
    const command = ['restore', archive, '--live', '--define', '--pool', 'unstarted-pool']
    const PATH = brokenVirsh(dir, 'start', 'echo "error: made up" >&2; exit 1')
    const failed = await host.run(command, { inside: [], env: { PATH } })
    assert.equal(failed.code, 1)
    assert.match(failed.stderr, /the domain 'unstarted' does not start: virsh: made up/)
    assert.deepEqual(readdirSync(folder), [])
    assert.doesNotMatch(await host.libvirt.virsh('list', '--all', '--name'), /unstarted/)

    const killed = brokenVirsh(dir, 'start', 'kill -9 $PPID; exit 1')
    await host.run(command, { inside: [], env: { PATH: killed } })
    const { code, stderr } = await host.run(command, { inside: [] })
    assert.equal(code, 0, stderr)
    assert.match(stderr, /the guest is off: its images are completed without it/)
    assert.deepEqual(readdirSync(folder).sort(), ['unstarted-vda.qcow2', 'unstarted-vdb.qcow2'])
    assert.doesNotMatch(await xmlOf('unstarted'), /nbd/)
    const image = join(dir, 'root.raw')
    execFileSync('qemu-img', ['convert', '-O', 'raw', join(folder, 'unstarted-vdb.qcow2'), image])
    execFileSync('cmp', [image, join(dir, 'root.img')])
  })
})

async function eventually(condition: () => boolean | Promise<boolean>, what: string): Promise<void> {
  for (const end = Date.now() + WAIT_MS; !(await condition()); await sleep(100)) {
    if (Date.now() > end) throw new Error(`in ${WAIT_MS / 1000} s not: ${what}`)
  }
}
