import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { Manifest } from '../../../src/core/items.ts'
import { decodeHeader, encodeHeader } from '../../../src/formats/vma/header.ts'
import { driveNamed, refuseNames, restoreNames } from '../../../src/formats/vma/names.ts'

const drive = (name: string, id = 1) => ({ id, name, size: 512 })
const config = (name: string, data = 'x') => ({ name, data: Buffer.from(data) })
const namesOf = (drives: string[], configs: [string, string][]) =>
  restoreNames({
    drives: drives.map((name, at) => drive(name, at + 1)),
    configs: configs.map(([name, data]) => config(name, data)),
  })

describe('files that an archive is restored to', () => {
  test('of configs with one name the last has it, and others are beside it', () => {
    const { configs, notes } = namesOf(
      ['d'],
      [
        ['c', 'one'],
        ['c', 'two'],
        ['c', 'three'],
      ],
    )
    assert.deepEqual(configs, ['c.1', 'c.2', 'c'])
    assert.equal(notes.length, 2)
    assert.match(notes[0], /config file 'c' is restored as 'c\.1'/)
  })

  test('of configs with one name and one content there is one', () => {
    const { configs, notes } = namesOf(
      ['d'],
      [
        ['c', 'same'],
        ['other', ''],
        ['c', 'same'],
      ],
    )
    assert.deepEqual(configs, [null, 'other', 'c'])
    assert.deepEqual(notes, [])
  })

  test('a number that is a name already is passed over', () => {
    assert.deepEqual(
      namesOf(
        [],
        [
          ['c', '1'],
          ['c.1', '2'],
          ['c', '3'],
        ],
      ).configs,
      ['c.2', 'c.1', 'c'],
    )
  })

  test('a config that is called as the file of a drive makes room for the drive', () => {
    const { drives, configs, notes } = namesOf(['d'], [['disk-d.raw', 'x']])
    assert.equal(drives.get(1), 'disk-d.raw')
    assert.deepEqual(configs, ['disk-d.raw.1'])
    assert.match(notes[0], /as a drive has this name/)
  })
})

describe('names that a backup refuses', () => {
  const cases: [string[], string[], RegExp][] = [
    [['d'], ['disk-d.raw'], /config name 'disk-d\.raw' is not alone/],
    [['vmstate'], ['vmstate.bin'], /is not alone/],
    [[], ['a', 'a'], /is not alone/],
    [['a/b'], [], /drive name 'a\/b' has a slash/],
    [['a\\b'], [], /has a slash/],
    [['d'], ['a\\b'], /has a slash/],
    [['d'], ['..'], /is not the name of a file/],
    [['d'], [''], /is not the name of a file/],
    [['d\n'], [], /control characters/],
    [['d\u0085'], [], /cannot be printed/],
    [['d\ufffd'], [], /cannot be printed/],
    [['d'.repeat(250)], [], /too long: .* 259 bytes/],
    [['ä'.repeat(120)], [], /too long/],
    [['d'], ['c'.repeat(256)], /too long/],
  ]
  for (const [drives, configs, message] of cases) {
    test(`drives ${JSON.stringify(drives).slice(0, 30)}, configs ${JSON.stringify(configs).slice(0, 30)}`, () => {
      assert.throws(() => refuseNames({ drives, configs }), { code: 'USAGE', message })
    })
  }

  test('usual ones are taken', () => {
    refuseNames({ drives: ['drive-scsi0', 'vmstate', 'größe 1'], configs: ['qemu-server.conf', 'disk-x.raw'] })
  })
})

test('names that are no UTF-8 pass through a header with all their bytes', () => {
  const manifest = new Manifest({
    uuid: Buffer.alloc(16),
    ctime: 0,
    drives: [drive('platte-\udce4', 1), drive('platte-\udcf6', 2)],
    configs: [config('\udcff.conf')],
  })
  const decoded = decodeHeader(encodeHeader(manifest))
  assert.deepEqual(decoded.drives, manifest.drives)
  assert.equal(decoded.configs[0].name, '\udcff.conf')
  assert.ok(encodeHeader(manifest).includes(Buffer.from('platte-\xe4\0', 'latin1')))
  assert.equal(driveNamed(decoded.drives, 'platte-\\xf6')?.id, 2)
  assert.equal(driveNamed(decoded.drives, 'platte-'), undefined)
})
