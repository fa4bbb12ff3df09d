import assert from 'node:assert/strict'
import { test } from 'node:test'
import { bitmapsOf } from '../../../../src/live/qemu/bitmaps/found.ts'
import { endName, sinceName } from '../../../../src/live/qemu/bitmaps/names.ts'
import { mayPersist, obstacleTo, sealOf, trustIn } from '../../../../src/live/qemu/bitmaps/trust.ts'

const SIZE = 10 * 65536
const DRIVE = {
  ...{ name: 'drive-d0', node: 'node0', size: SIZE, driver: 'qcow2', shared: false },
  ...{ chain: ['qcow2 /vm/disk.qcow2'], hasDataFile: false },
}
const UUID = '1'.repeat(32)
const PARENT = { uuid: UUID, clusters: { 'drive-d0': 10 } }
const SEAL = sealOf(DRIVE, [])
const KEY = { target: 'a'.repeat(16), uuid: UUID, seal: SEAL, time: 1 }

const since = (more: object = {}) => ({
  name: sinceName(KEY),
  count: 65536,
  granularity: 65536,
  recording: true,
  ...more,
})
const end = (more: object = {}) => ({ name: endName(KEY), count: 65536, granularity: 65536, recording: false, ...more })

function reason(bitmaps: unknown, drive = DRIVE, parent = PARENT): string | null {
  const found = bitmapsOf([{ 'node-name': 'node0', 'dirty-bitmaps': bitmaps }])
  const trust = trustIn(drive, SEAL, parent, found)
  return 'reason' in trust ? trust.reason : null
}

test('a bitmap is trusted if everything about it is as it must be', () => {
  assert.equal(reason([since(), end()]), null)
  for (const [bitmaps, wanted] of [
    [[], /no bitmap/],
    [[since()], /made smaller/],
    [[since(), end({ count: 0 })], /made smaller/],
    [[since(), end({ count: 131072 })], /made smaller/],
    [[since(), end({ recording: true })], /made smaller/],
    [[since({ recording: false }), end()], /disabled/],
    [[since({ busy: true }), end()], /in use/],
    [[since({ inconsistent: true }), end()], /killed/],
    [[since({ granularity: 4096 }), end()], /granularity/],
    [[since({ name: sinceName({ ...KEY, seal: 'f'.repeat(16) }) }), end()], /another image/],
    [[since({ name: sinceName({ ...KEY, uuid: '2'.repeat(32) }) }), end()], /no bitmap/],
  ] as const)
    assert.match(String(reason(bitmaps)), wanted, JSON.stringify(bitmaps))
})

test('bitmaps that make no sense count as none', () => {
  for (const bitmaps of [
    null,
    'x',
    {},
    [null],
    [since({ count: -1 })],
    [since({ granularity: '64k' })],
    [since({ name: 7 })],
  ])
    assert.match(String(reason(bitmaps)), /no bitmap/)
})

test('the drive must be that of the parent', () => {
  const both = [since(), end()]
  assert.match(reason(both, { ...DRIVE, name: 'other' })!, /the parent does not have it/)
  assert.match(reason(both, { ...DRIVE, name: 'constructor' })!, /the parent does not have it/)
  assert.match(reason(both, { ...DRIVE, size: SIZE + 65536 })!, /resized/)
})

test('a drive that may change without its node has no bitmap', () => {
  assert.equal(obstacleTo(DRIVE), null)
  assert.match(obstacleTo({ ...DRIVE, shared: true })!, /share-rw/)
  for (const driver of ['throttle', 'copy-on-read', 'vmdk', 'rbd', 'copy-before-write'])
    assert.match(obstacleTo({ ...DRIVE, driver })!, /does not see/)
  for (const file of ['nbd+unix:///x?socket=/s', 'json:{"driver": "raw"}', 'rbd:pool/image', 'https://x/y', ''])
    assert.match(obstacleTo({ ...DRIVE, chain: [`raw ${file}`] })!, /not a local file/, file)
  assert.match(obstacleTo({ ...DRIVE, chain: [] })!, /not a local file/)
})

test('a bitmap is kept in the image only if nothing else has data of the drive', () => {
  assert.equal(mayPersist(DRIVE), true)
  assert.equal(mayPersist({ ...DRIVE, chain: ['qcow2 /a', 'raw /b'] }), false)
  assert.equal(mayPersist({ ...DRIVE, hasDataFile: true }), false)
  assert.equal(mayPersist({ ...DRIVE, driver: 'raw' }), false)
  assert.notEqual(
    sealOf({ ...DRIVE, chain: ['qcow2 /a', 'raw /b'] }, ['x']),
    sealOf({ ...DRIVE, chain: ['qcow2 /a', 'raw /b'] }, ['y']),
  )
  assert.equal(sealOf(DRIVE, ['file x']), sealOf(DRIVE, ['file y']))
})
