import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { chooseDrives } from '../../../../src/live/qemu/inventory/choose-drives.ts'
import type { Inventory, QemuDrive } from '../../../../src/live/qemu/inventory/discovery.ts'

const drive = (id: string, fields: Partial<QemuDrive> = {}): QemuDrive => ({
  ...{ name: `drive-${id}`, id, node: `node-${id}`, backend: `backend-${id}`, qomPath: `/machine/peripheral/${id}` },
  ...{
    size: 512,
    readOnly: false,
    driver: 'raw',
    format: 'raw',
    file: '',
    chain: [],
    hasDataFile: false,
    throttleGroup: null,
  },
  ...{ type: 'scsi-hd', media: 'disk', shared: false, iothread: null },
  ...fields,
})

const inventory: Inventory = {
  drives: [drive('scsi0'), drive('scsi1')],
  leftOut: [
    { name: 'drive-cd0', reason: 'is a CD-ROM', drive: drive('cd0', { media: 'cdrom' }) },
    { name: 'drive-cd1', reason: 'is an empty CD-ROM drive', drive: null },
  ],
}

const chosen = (...wishes: [string, string][]) => chooseDrives(inventory, wishes).map(({ name, id }) => `${name}=${id}`)

describe('the drives of a backup', () => {
  test('are all that are not left out', () => assert.deepEqual(chosen(), ['drive-scsi0=scsi0', 'drive-scsi1=scsi1']))

  test('are those that are named, by whatever name they have', () => {
    for (const name of ['drive-scsi1', 'scsi1', 'node-scsi1', 'backend-scsi1', '/machine/peripheral/scsi1'])
      assert.deepEqual(chosen([name, '']), ['drive-scsi1=scsi1'], name)
  })

  test('have the names that the user gives them, in his order', () => {
    assert.deepEqual(chosen(['data', 'node-scsi1'], ['root', 'scsi0']), ['data=scsi1', 'root=scsi0'])
  })

  test('may be one that is left out, if it is asked for', () =>
    assert.deepEqual(chosen(['cd0', '']), ['drive-cd0=cd0']))

  test('cannot be one without a medium', () => {
    assert.throws(() => chosen(['cd1', '']), { code: 'USAGE', message: 'the drive drive-cd1 is an empty CD-ROM drive' })
  })

  test('cannot be one that is not there; those that are there are named', () => {
    assert.throws(() => chosen(['scsi2', '']), {
      code: 'USAGE',
      message: "the guest has no drive 'scsi2'",
      hint: 'it has drive-scsi0, drive-scsi1, drive-cd0',
    })
    assert.throws(() => chosen(['scsi0', 'constructor']), { message: "the guest has no drive 'constructor'" })
  })

  test('are without those that are excluded, by whatever name', () => {
    const without = (...names: string[]) => chooseDrives(inventory, [], names).map(({ id }) => id)
    assert.deepEqual(without('node-scsi0'), ['scsi1'])
    assert.deepEqual(without('cd0'), ['scsi0', 'scsi1'])
    assert.deepEqual(
      chooseDrives(
        inventory,
        [
          ['a', 'scsi0'],
          ['b', 'scsi1'],
        ],
        ['scsi1'],
      ).map(({ name }) => name),
      ['a'],
    )
    assert.throws(() => without('none'), { code: 'USAGE', message: "the guest has no drive 'none'" })
    assert.throws(() => without('scsi0', 'scsi1'), { code: 'USAGE', message: 'every drive of the guest is left out' })
  })

  test('cannot be the same twice, nor have one name', () => {
    assert.throws(() => chosen(['a', 'scsi0'], ['b', 'node-scsi0']), { code: 'USAGE', message: /b is chosen twice/ })
    assert.throws(() => chosen(['a', 'scsi0'], ['a', 'scsi1']), {
      code: 'USAGE',
      message: /two drives would be called a/,
    })
  })

  test('must be at least one; what was left out is told', () => {
    assert.throws(() => chooseDrives({ ...inventory, drives: [] }), {
      code: 'FAILED',
      hint: 'drive-cd0 is a CD-ROM, drive-cd1 is an empty CD-ROM drive',
    })
    assert.throws(() => chooseDrives({ drives: [], leftOut: [] }), { code: 'FAILED', hint: undefined })
  })
})
