import assert from 'node:assert/strict'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { footprintOf, namesIn } from '../../../../src/live/qemu/attachment/footprint.ts'
import { namesOf } from '../../../../src/live/qemu/attachment/names.ts'
import { remove } from '../../../../src/live/qemu/attachment/removal.ts'
import { NbdClient } from '../../../../src/protocol/nbd/client.ts'
import { QmpClient } from '../../../../src/protocol/qmp/client.ts'
import { putLibvirt } from '../../../support/fake-virsh.ts'
import { startStorageDaemon } from '../../../support/qemu.ts'
import { tmpDir } from '../../../support/tmp.ts'
import { needs } from '../../../support/tools.ts'

const WAYS: [string, (t: TestContext, qmp: string) => Promise<QmpClient>][] = [
  ['by events', (_, qmp) => QmpClient.connect(qmp)],
  [
    'by way of libvirt, which passes no events on',
    (t, qmp) => {
      putLibvirt(t, qmp)
      return QmpClient.libvirt('vm1')
    },
  ],
]

describe('what is ours in a QEMU is taken out', () => {
  for (const [way, connect] of WAYS) {
    test(`although a client is connected: ${way}`, { timeout: 60_000, ...needs('qemu-storage-daemon') }, async (t) => {
      const { qmp: path } = await startStorageDaemon(t)
      const qmp = await connect(t, path)
      t.after(() => qmp.close())
      const socketPath = join(tmpDir(t), 'nbd')
      await qmp.execute('nbd-server-start', { addr: { type: 'unix', data: { path: socketPath } } })
      await qmp.execute('blockdev-add', { driver: 'null-co', 'node-name': 'node0', size: 1 << 20 })
      const { hold, snapshot } = namesOf(0)
      for (const id of [hold, snapshot])
        await qmp.execute('block-export-add', { type: 'nbd', id, name: id, 'node-name': 'node0' })
      await qmp.execute('block-export-add', { type: 'nbd', id: 'foreign', name: 'foreign', 'node-name': 'node0' })
      const client = await NbdClient.connect({ socketPath, exportName: snapshot })
      await remove(qmp, { server: true })
      assert.deepEqual(namesIn(await footprintOf(qmp)), [])
      const left = await qmp.execute<{ id: string }[]>('query-block-exports')
      assert.deepEqual(
        left.map(({ id }) => id),
        ['foreign'],
      )
      await client.close()
      await qmp.execute('block-export-del', { id: 'foreign', mode: 'hard' })
    })
  }
})
