import assert from 'node:assert/strict'
import { hash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { describe, test } from 'node:test'
import { type ArchiveRecord, Manifest } from '../../../src/core/items.ts'
import { decodeHeader, encodeHeader, headerSize } from '../../../src/formats/vma/header.ts'

const parent = { uuid: Buffer.alloc(16, 3), end: Buffer.alloc(16, 4), ctime: 0x65000001 }

function headerOf(record: ArchiveRecord | null): Buffer {
  const drives = [{ id: 1, name: 'drive-scsi0', size: 1 << 20 }]
  return encodeHeader(new Manifest({ uuid: Buffer.alloc(16, 1), ctime: 1, configs: [], drives, record }))
}

function decoded(header: Buffer): Manifest {
  headerSize(header)
  return decodeHeader(header)
}

/** The header with other bytes, and a right checksum. */
function forged(record: ArchiveRecord, change: (header: Buffer) => void): Buffer {
  const header = headerOf(record)
  change(header)
  header.fill(0, 32, 48)
  header.set(hash('md5', header, 'buffer'), 32)
  return header
}

describe("an archive's record", () => {
  test('names the parent in the bytes that the format says, under another version of the header', () => {
    const header = headerOf({ parent, guest: 'vm1', full: null })
    assert.equal(header.readUInt32BE(4), 2)
    assert.equal(header.toString('hex', 60, 64), '56580100')
    assert.equal(header.toString('hex', 64, 104), `${'03'.repeat(16)}${'04'.repeat(16)}0000000065000001`)
    const text = header.toString('utf8', 106, 106 + header.readUInt16BE(104))
    const { version } = JSON.parse(readFileSync(new URL('../../../package.json', import.meta.url), 'utf8'))
    assert.deepEqual(JSON.parse(text), { guest: 'vm1', tool: `vmapipe ${version}` })
  })

  test('comes back as it was', () => {
    const record = {
      parent,
      guest: 'vm 1 ä',
      full: null,
      whole: { 'drive-scsi0': 'it was resized' },
      tool: 'vmapipe 0.1.0',
    }
    const { record: found, isIncremental } = decoded(headerOf(record))
    assert.ok(found?.parent)
    assert.deepEqual(
      {
        ...found,
        parent: { ...found.parent, uuid: Buffer.from(found.parent.uuid), end: Buffer.from(found.parent.end) },
      },
      record,
    )
    assert.ok(isIncremental)
  })

  test('says why an archive is full, which stays an archive of version 1', () => {
    const header = headerOf({ parent: null, guest: null, full: 'there is no parent' })
    assert.equal(header.readUInt32BE(4), 1)
    assert.deepEqual(decoded(header).record, {
      ...{ parent: null, guest: null, full: 'there is no parent' },
      tool: 'vmapipe 0.1.0',
    })
  })

  test('is absent from an archive that says nothing', () => {
    const header = headerOf(null)
    assert.ok(header.subarray(60, 2044).equals(Buffer.alloc(1984)))
    assert.equal(decoded(header).record, null)
  })

  test('is shortened if its reasons are too long, but not the name of the guest', () => {
    const whole = Object.fromEntries(Array.from({ length: 100 }, (_, at) => [`drive-${at}`, 'it was resized']))
    const { record } = decoded(headerOf({ parent, guest: 'vm1', full: 'x'.repeat(5000), whole }))
    assert.deepEqual([record?.guest, record?.full, record?.whole], ['vm1', 'x'.repeat(200), undefined])
    assert.throws(() => headerOf({ parent, guest: 'x'.repeat(2000), full: null }), { code: 'USAGE' })
  })

  test('may say anything in its text without harm', () => {
    const record = { parent, guest: 'vm1', full: null }
    for (const text of [
      '',
      'no JSON',
      '[]',
      'null',
      '7',
      '{"guest":7,"full":[],"whole":"x"}',
      '{"__proto__":{"guest":"x"}}',
    ]) {
      const header = forged(record, (bytes) => {
        bytes.writeUInt16BE(text.length, 104)
        bytes.write(text, 106)
      })
      const { record: found } = decoded(header)
      assert.deepEqual([found?.guest ?? null, found?.full, found?.whole], [null, null, undefined], text)
      assert.ok(found?.parent)
    }
    const long = forged(record, (bytes) => bytes.writeUInt16BE(0xffff, 104))
    assert.equal(decoded(long).record?.guest, null)
  })

  test('must be known in an incremental archive', () => {
    const header = forged({ parent, guest: null, full: null }, (bytes) => bytes.writeUInt8(2, 62))
    assert.throws(() => decoded(header), { code: 'DAMAGED', message: /its record cannot be read/ })
  })
})
