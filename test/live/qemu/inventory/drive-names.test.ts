import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { distinctNames, driveName, type Named } from '../../../../src/live/qemu/inventory/drive-names.ts'

const named = (fields: Partial<Named>): Named => ({ id: null, backend: '', node: null, qomPath: null, ...fields })

describe('the name of a drive', () => {
  for (const [what, fields, name] of [
    ['its id', { id: 'scsi0', backend: 'x', node: 'y' }, 'drive-scsi0'],
    ['its id as it is, where that is such a name', { id: 'drive-scsi0' }, 'drive-scsi0'],
    ['its block backend, where it has no id', { backend: 'drive-virtio1', node: '#block123' }, 'drive-virtio1'],
    ['its node, where it has no backend either', { node: 'root' }, 'drive-root'],
    ['its place on the board', { node: 'vars', qomPath: '/machine/system.flash1' }, 'drive-pflash1'],
    ['nothing in particular', { node: '#block123' }, 'drive-disk'],
    ['what a file may be called, whatever QEMU says', { id: '../a b\n\u{1f600}' }, 'drive-.._a_b___'],
    ['not without end', { id: 'x'.repeat(5000) }, `drive-${'x'.repeat(100)}`],
  ] as const) {
    test(`is ${what}`, () => assert.equal(driveName(named(fields)), name))
  }

  test('is its own; the one with an id keeps it', () => {
    const drives = [{ backend: 'virtio0' }, { id: 'virtio0' }, {}, {}, { id: 'drive-virtio0' }].map(named)
    assert.deepEqual(distinctNames(drives), [
      'drive-virtio0-3',
      'drive-virtio0',
      'drive-disk',
      'drive-disk-2',
      'drive-virtio0-2',
    ])
  })
})
