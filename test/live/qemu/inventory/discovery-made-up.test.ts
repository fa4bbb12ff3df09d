import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { discover } from '../../../../src/live/qemu/inventory/discovery.ts'
import { describeMachine } from '../../../../src/live/qemu/inventory/machine.ts'
import { fakeMonitor } from '../fake-monitor.ts'

const inserted = (fields: object) => ({ 'node-name': 'n', drv: 'raw', image: { 'virtual-size': 512 }, ...fields })

describe('discovery of what this host cannot have', () => {
  test("leaves out what goes past QEMU's block layer", async () => {
    const monitor = fakeMonitor(
      {
        'query-block': [{ device: '', qdev: 'pass0', inserted: inserted({}) }],
        'qom-list': [
          { name: 'type', type: 'string' },
          { name: 'fast0', type: 'child<vhost-user-blk-pci>' },
        ],
      },
      { '/machine/peripheral/pass0 type': 'scsi-block' },
    )
    const { drives, leftOut } = await discover(monitor)
    assert.deepEqual(drives, [])
    assert.deepEqual(
      leftOut.find(({ name }) => name === 'drive-pass0'),
      {
        name: 'drive-pass0',
        reason: "is a scsi-block: what the guest writes goes past QEMU's block layer",
        drive: null,
      },
    )
    assert.match(leftOut.find(({ name }) => name === 'fast0')!.reason, /vhost-user-blk-pci.* not QEMU's to read/)
  })

  test('finds the iothreads of queues', async () => {
    const monitor = fakeMonitor(
      { 'query-block': [{ device: '', qdev: '/machine/peripheral/v0/virtio-backend', inserted: inserted({}) }] },
      {
        '/machine/peripheral/v0 type': 'virtio-blk-pci',
        '/machine/peripheral/v0/virtio-backend iothread': '',
        '/machine/peripheral/v0/virtio-backend iothread-vq-mapping': [{ iothread: 'io1' }, { iothread: 'io2' }],
      },
    )
    assert.equal((await discover(monitor)).drives[0].iothread, 'io1,io2')
  })

  for (const [what, block, pattern] of [
    ['no list', {}, /no list/],
    ['a drive without a node', [{ qdev: 'a', inserted: {} }], /without a node/],
    [
      'a size that is none',
      [{ qdev: 'a', inserted: inserted({ image: { 'virtual-size': -1 } }) }],
      /size of -1 of the node n/,
    ],
    ['a size as text', [{ qdev: 'a', inserted: inserted({ image: { 'virtual-size': '5' } }) }], /a size of "5"/],
    ['a size beyond all sizes', [{ qdev: 'a', inserted: inserted({ image: { 'virtual-size': 2 ** 60 } }) }], /size/],
    ['no size', [{ qdev: 'a', inserted: inserted({ image: null }) }], /a size of undefined/],
  ] as const) {
    test(`fails clearly when QEMU answers with ${what}`, async () => {
      const error = await discover(fakeMonitor({ 'query-block': block })).catch((reason) => reason)
      assert.equal(error.code, 'FAILED')
      assert.match(error.message, /^QEMU's answer to query-block makes no sense: /)
      assert.match(error.message, pattern)
    })
  }
})

describe('a description of a machine', () => {
  test('leaves out what QEMU does not tell', async () => {
    const version = { major: 9, minor: 1, micro: 0, package: '' }
    const description = await describeMachine({ ...fakeMonitor({}), version }, [])
    assert.deepEqual(JSON.parse(JSON.stringify(description)), {
      version: 1,
      from: 'qemu',
      qemu: { version: '9.1.0', package: '' },
      cpu: {},
      disks: [],
      networks: [],
      iothreads: [],
      devices: [],
    })
  })
})
