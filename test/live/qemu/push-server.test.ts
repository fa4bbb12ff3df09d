import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, test } from 'node:test'
import { PushServer, removeSocketFolder } from '../../../src/live/qemu/push-server.ts'
import { tmpDir } from '../../support/tmp.ts'

/** nobody's. */
const OTHER = 65534

const asRoot = {
  timeout: 60_000,
  skip: process.getuid?.() !== 0 && 'needs root: the folder is for a QEMU of another user',
}

/** What a shell of the other user says; its exit code. */
function asOther(script: string): number | null {
  return spawnSync('sh', ['-c', script], { uid: OTHER, gid: OTHER, stdio: 'ignore' }).status
}

function openTmpDir(t: Parameters<typeof tmpDir>[0]): string {
  const dir = tmpDir(t)
  chmodSync(dir, 0o1777)
  return dir
}

describe('the folder for the sockets between us and a QEMU of another user', asRoot, () => {
  test('gives that user its sockets, and lets it swap none of them', async (t) => {
    const server = await PushServer.create({ parent: openTmpDir(t), owner: OTHER })
    await server.offer([])
    await server.takeRam(() => {})
    const folder = dirname(server.pushSocket)
    assert.deepEqual([lstatSync(folder).uid, lstatSync(folder).mode & 0o7777], [0, 0o711])
    for (const socket of [server.pushSocket, server.ramSocket]) {
      assert.deepEqual([lstatSync(socket).uid, lstatSync(socket).mode & 0o7777], [OTHER, 0o600])
      assert.notEqual(asOther(`mv '${socket}' '${socket}.old' || rm '${socket}' || ln -sf /etc/shadow '${socket}'`), 0)
    }
    assert.equal(asOther(`touch '${server.pullSocket}'`), 0)
    await server.close()
    assert.ok(!existsSync(folder))
  })

  test('is not followed out of itself when it is removed: known names go, nothing else', async (t) => {
    const dir = openTmpDir(t)
    mkdirSync(join(dir, 'treasure'))
    writeFileSync(join(dir, 'treasure/pull'), 'x')
    const server = await PushServer.create({ parent: dir, owner: OTHER })
    const folder = dirname(server.pushSocket)
    // What QEMU may do in its own folder: a link in place of its socket, and a file that nobody knows.
    assert.equal(asOther(`ln -s '${dir}/treasure/pull' '${server.pullSocket}'; mkdir '${folder}/qemu/more'`), 0)
    await server.close()
    assert.deepEqual(readdirSync(join(folder, 'qemu')), ['more'])
    assert.ok(existsSync(join(dir, 'treasure/pull')))
  })

  test('of a run that was killed is removed if it is ours, and not if QEMU names another one', async (t) => {
    const dir = openTmpDir(t)
    const made = (name: string) => {
      mkdirSync(join(dir, name, 'qemu'), { recursive: true })
      writeFileSync(join(dir, name, 'push'), 'x')
      return join(dir, name)
    }
    const ours = made('vmapipe-ours')
    const theirs = made('vmapipe-theirs')
    chownSync(theirs, OTHER, OTHER)
    const shared = made('vmapipe-shared')
    chmodSync(shared, 0o777)
    const other = made('other')
    symlinkSync(ours, join(dir, 'vmapipe-link'))
    for (const folder of [join(dir, 'vmapipe-link'), theirs, shared, other]) await removeSocketFolder(folder)
    for (const folder of [ours, theirs, shared, other]) assert.ok(existsSync(join(folder, 'push')), folder)
    await removeSocketFolder(ours)
    assert.ok(!existsSync(ours))
  })

  test('is refused where others may replace it', async (t) => {
    const dir = tmpDir(t)
    chmodSync(dir, 0o777)
    await assert.rejects(PushServer.create({ parent: dir, owner: OTHER }), { code: 'USAGE', hint: /--socket-dir/ })
    assert.deepEqual(readdirSync(dir), [])
  })
})
