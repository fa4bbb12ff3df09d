import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { QmpClient, qmpErrorClass } from '../../../src/protocol/qmp/client.ts'
import { startQemu, startStorageDaemon } from '../../support/qemu.ts'
import { tmpDir } from '../../support/tmp.ts'
import { needs } from '../../support/tools.ts'

const timeout = 20_000

/** What libvirt does for `virsh qemu-monitor-command`, with a QMP socket behind it; its log has a line for each run. */
const VIRSH = (qmp: string, log: string) => `#!${process.execPath}
const { appendFileSync } = require('node:fs')
const [verb, domain, command] = process.argv.slice(2)
appendFileSync(${JSON.stringify(log)}, [verb, domain, command].join(' ') + '\\n')
if (domain !== '--domain=vm1') {
  console.error("error: failed to get domain '" + domain.slice(9) + "'\\n")
  process.exit(1)
}
const socket = require('node:net').connect(${JSON.stringify(qmp)})
let text = ''
socket.on('data', (data) => {
  text += data
  const lines = text.split('\\r\\n').slice(0, -1).filter((line) => !line.includes('"event"'))
  if (lines.length === 1 && !socket.sent) socket.sent = socket.write('{"execute": "qmp_capabilities"}')
  if (lines.length === 2 && !socket.asked) socket.asked = socket.write(command.replace('--cmd=', ''))
  if (lines.length < 3) return
  console.log(JSON.stringify({ ...JSON.parse(lines[2]), id: 'libvirt-42' }) + '\\n')
  socket.destroy()
})
`

type Hooks = { after(hook: () => void): void }

/** Puts this text on the PATH as virsh. */
function putVirsh(t: Hooks, script: string): void {
  const dir = tmpDir(t)
  writeFileSync(join(dir, 'virsh'), script, { mode: 0o755 })
  const { PATH } = process.env
  process.env.PATH = `${dir}:${PATH}`
  t.after(() => {
    process.env.PATH = PATH
  })
}

function putLibvirt(t: Hooks, qmp: string): () => string[] {
  const log = join(tmpDir(t), 'log')
  putVirsh(t, VIRSH(qmp, log))
  return () => readFileSync(log, 'utf8').trim().split('\n')
}

describe('QMP by way of virsh', () => {
  test('runs commands in order, a run each, with answers and errors', {
    timeout,
    ...needs('qemu-storage-daemon'),
  }, async (t) => {
    const { qmp } = await startStorageDaemon(t)
    const runs = putLibvirt(t, qmp)
    const client = await QmpClient.libvirt('vm1')
    assert.ok(client.version.major >= 7)
    const node = { driver: 'null-co', 'node-name': 'n', size: 1 << 20 }
    const [added, nodes] = await Promise.all([
      client.execute('blockdev-add', node),
      client.execute('query-named-block-nodes', { flat: true }),
    ])
    assert.deepEqual(added, {})
    assert.equal(nodes[0]['node-name'], 'n')
    const error = await client.execute('blockdev-del', { 'node-name': 'none' }).catch((reason) => reason)
    assert.match(error.line, /^QEMU refuses blockdev-del: /)
    assert.equal(qmpErrorClass(error), 'GenericError')
    client.close()
    assert.equal(await client.closed, null)
    assert.deepEqual(runs().slice(0, 2), [
      'qemu-monitor-command --domain=vm1 --cmd={"execute":"query-version"}',
      `qemu-monitor-command --domain=vm1 --cmd=${JSON.stringify({ execute: 'blockdev-add', arguments: node })}`,
    ])
  })

  test('asks for what events would tell', { timeout, ...needs('qemu-storage-daemon') }, async (t) => {
    const { qmp } = await startStorageDaemon(t)
    putLibvirt(t, qmp)
    const client = await QmpClient.libvirt('vm1')
    for (const name of ['a', 'b'])
      await client.execute('blockdev-add', { driver: 'null-co', 'node-name': name, size: 1 << 20 })
    const path = join(tmpDir(t), 'nbd')
    await client.execute('nbd-server-start', { addr: { type: 'unix', data: { path } } })
    await client.execute('block-export-add', { type: 'nbd', id: 'e', 'node-name': 'a' })
    const deleted = client.waitFor('BLOCK_EXPORT_DELETED', ({ id }) => id === 'e', 10_000)
    await client.execute('block-export-del', { id: 'e', mode: 'hard' })
    assert.deepEqual((await deleted).data, { id: 'e' })
    const completed = client.waitFor('BLOCK_JOB_COMPLETED', ({ device }) => device === 'j', 10_000)
    const job = { 'job-id': 'j', device: 'a', target: 'b', sync: 'full', 'auto-dismiss': false }
    await client.execute('blockdev-backup', job)
    assert.deepEqual((await completed).data, { device: 'j', type: 'backup' })
    await assert.rejects(client.waitFor('GUEST_PANICKED'), /GUEST_PANICKED cannot be seen by way of libvirt/)
    client.close()
  })

  test('sees a machine stop and go on', { timeout, ...needs('qemu-system-x86_64') }, async (t) => {
    const { qmp } = await startQemu(t, [])
    putLibvirt(t, qmp)
    const client = await QmpClient.libvirt('vm1')
    const resumed = client.waitFor('RESUME')
    await client.execute('cont')
    await resumed
    const stopped = client.waitFor('STOP')
    await client.execute('stop')
    await stopped
    client.close()
  })

  test('says what virsh says, where there is no such domain', { timeout }, async (t) => {
    putLibvirt(t, '/nowhere')
    await assert.rejects(QmpClient.libvirt('-vm2'), {
      code: 'FAILED',
      message: "libvirt domain -vm2: virsh: failed to get domain '-vm2'",
    })
  })

  test('says that virsh is missing', { timeout }, async (t) => {
    const { PATH } = process.env
    process.env.PATH = tmpDir(t)
    t.after(() => {
      process.env.PATH = PATH
    })
    await assert.rejects(QmpClient.libvirt('vm1'), { message: /virsh is not installed/, hint: /libvirt-clients/ })
  })

  test('a virsh that prints something else, or hangs, is an error', { timeout }, async (t) => {
    putVirsh(t, '#!/bin/sh\necho Welcome\n')
    await assert.rejects(QmpClient.libvirt('vm1'), /'Welcome' is not JSON/)
    putVirsh(t, '#!/bin/sh\nexec sleep 60\n')
    await assert.rejects(QmpClient.libvirt('vm1', { timeout: 200 }), /no answer to query-version within 0\.2 s/)
  })
})
