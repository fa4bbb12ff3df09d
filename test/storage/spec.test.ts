import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseDriveSpec } from '../../src/storage/spec.ts'

test('a path is raw, whatever it looks like', () => {
  for (const path of [
    'disk.raw',
    '/dev/sda',
    './qcow2:x',
    '/a/qcow2:x',
    'disk.qcow2',
    'vm:1.raw',
    'C:x',
    '-f',
    'a//b',
  ]) {
    assert.deepEqual(parseDriveSpec(path), { kind: 'raw', path })
  }
  assert.deepEqual(parseDriveSpec('raw:qcow2:x'), { kind: 'raw', path: 'qcow2:x' })
})

test('a format is said before the path', () => {
  assert.deepEqual(parseDriveSpec('qcow2:/a b:c'), { kind: 'image', format: 'qcow2', path: '/a b:c' })
  assert.deepEqual(parseDriveSpec('vmdk:x\ny'), { kind: 'image', format: 'vmdk', path: 'x\ny' })
})

test('an NBD URI is an NBD export', () => {
  assert.deepEqual(parseDriveSpec('nbd://host/a'), {
    kind: 'nbd',
    address: { host: 'host', port: 10809, exportName: 'a' },
  })
})

test('what cannot be a drive is a usage error', () => {
  for (const text of ['', 'raw:', 'qcow2:', 'http://host/disk', 'nbds://host/', 'nbd+vsock://1/', 'a\0b']) {
    assert.throws(() => parseDriveSpec(text), { code: 'USAGE' }, JSON.stringify(text))
  }
})
