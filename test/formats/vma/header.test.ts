import assert from 'node:assert/strict'
import { hash } from 'node:crypto'
import { describe, test } from 'node:test'
import { VmapipeError } from '../../../src/core/errors.ts'
import { Manifest } from '../../../src/core/items.ts'
import {
  decodeHeader,
  encodeHeader,
  FIXED_HEADER_SIZE,
  headerSize,
  MAX_HEADER_SIZE,
} from '../../../src/formats/vma/header.ts'
import { golden, goldenBytes, needsGolden } from '../../support/golden.ts'

const uuid = Buffer.from('000102030405060708090a0b0c0d0e0f', 'hex')
const small = () =>
  new Manifest({
    uuid,
    ctime: 0x65000000,
    configs: [{ name: 'a.conf', data: Buffer.from('x') }],
    drives: [{ id: 200, name: 'drive-scsi0', size: 0x123456789 }],
  })

describe('the header of a VMA archive', () => {
  test('is in the bytes that the specification names', () => {
    const header = encodeHeader(small())
    assert.equal(header.length, 12800)
    assert.equal(header.toString('hex', 0, 32), `564d410000000001${uuid.toString('hex')}0000000065000000`)
    assert.equal(header.toString('hex', 48, 60), '00003000' + '0000001b' + '00003200')
    assert.equal(header.readUInt32BE(2044), 1)
    assert.equal(header.readUInt32BE(3068), 10)
    assert.equal(
      header.toString('hex', 4096 + 200 * 32, 4096 + 201 * 32),
      `0000000d000000000000000123456789${'0'.repeat(32)}`,
    )
    const blobs = '00' + '0700612e636f6e6600' + '010078' + '0c0064726976652d736373693000'
    assert.equal(header.toString('hex', 12288, 12288 + blobs.length / 2), blobs)
  })

  test('decodes to what was encoded', () => {
    const { configs, drives, ctime } = decodeHeader(encodeHeader(small()))
    assert.deepEqual(drives, small().drives)
    assert.deepEqual(
      configs.map(({ name, data }) => [name, Buffer.from(data).toString()]),
      [['a.conf', 'x']],
    )
    assert.equal(ctime, 0x65000000)
  })

  test('is refused when any bit of it is flipped', () => {
    const header = encodeHeader(small())
    for (let at = 0; at < header.length; at += 37) {
      const bad = Buffer.from(header)
      bad[at] ^= 0x10
      assert.throws(() => decodeHeader(bad.subarray(0, headerSize(bad))), damaged, `byte ${at}`)
    }
  })

  for (const [what, at, value] of [
    ['larger than a header can be', 56, MAX_HEADER_SIZE + 512],
    ['smaller than its fixed part', 56, 4096],
  ] as const) {
    test(`is refused when it claims to be ${what}`, () => {
      const header = encodeHeader(small())
      header.writeUInt32BE(value, at)
      assert.throws(() => headerSize(header), damaged)
    })
  }

  for (const [what, spoil] of [
    ['a blob buffer outside the header', (h: Buffer) => h.writeUInt32BE(0xffffff00, 48)],
    ['a blob buffer larger than the header', (h: Buffer) => h.writeUInt32BE(0xffffffff, 52)],
    ['a name outside the blob buffer', (h: Buffer) => h.writeUInt32BE(0xfffffffe, 2044)],
    ['a blob longer than the blob buffer', (h: Buffer) => h.writeUInt16LE(0xffff, FIXED_HEADER_SIZE + 10)],
    ['a name without NUL', (h: Buffer) => h.writeUInt8(0x41, FIXED_HEADER_SIZE + 1 + 2 + 6)],
    ['a drive larger than clusters can be counted', (h: Buffer) => h.writeBigUInt64BE(2n ** 60n, 4096 + 200 * 32 + 8)],
  ] as [string, (header: Buffer) => void][]) {
    test(`is refused with ${what}, though its checksum is right`, () => {
      const header = encodeHeader(small())
      spoil(header)
      header.fill(0, 32, 48)
      header.set(hash('md5', header, 'buffer'), 32)
      assert.throws(() => decodeHeader(header), damaged)
    })
  }

  test('does not take what the format cannot hold', () => {
    const refuse = (change: Partial<Manifest>) =>
      assert.throws(() => encodeHeader(new Manifest({ ...small(), ...change } as Manifest)), { code: 'USAGE' })
    refuse({ configs: [{ name: 'big', data: Buffer.alloc(65536) }] })
    refuse({ drives: [{ id: 255, name: 'x', size: 1 }] })
    refuse({ drives: [{ id: 1, name: 'x', size: 0 }] })
    refuse({ drives: Array.from({ length: 255 }, (_, i) => ({ id: i + 1, name: `d${i}`, size: 1 })) })
    refuse({ configs: Array.from({ length: 20 }, (_, i) => ({ name: `c${i}`, data: Buffer.alloc(65535) })) })
  })

  for (const [name, { layout, drives }] of golden) {
    test(`${name}: reads like the real tool's, and is written byte for byte the same`, needsGolden, () => {
      const archive = goldenBytes(name)
      const size = headerSize(archive)
      assert.equal(size, layout.headerSize)
      const header = archive.subarray(0, size)
      const manifest = decodeHeader(header)
      assert.equal(Buffer.from(manifest.uuid).toString('hex'), layout.uuid)
      assert.equal(manifest.ctime, layout.ctime)
      assert.deepEqual(
        manifest.drives.map(({ id, name }) => ({ devId: id, name })),
        drives.map(({ devId, name }) => ({ devId, name })),
      )
      assert.deepEqual(
        manifest.configs.map(({ name, data }) => ({ name, sha256: hash('sha256', data) })),
        layout.configs.map(({ name, sha256 }) => ({ name, sha256 })),
      )
      assert.ok(encodeHeader(manifest).equals(header))
    })
  }
})

function damaged(error: unknown): boolean {
  return error instanceof VmapipeError && error.code === 'DAMAGED'
}
