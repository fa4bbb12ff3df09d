/** Bytes behind a good archive that look like something: what is looked through is looked through in bearable time, and others have their turn. */

import assert from 'node:assert/strict'
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import { xxh32 } from '@node-rs/xxhash'
import fc from 'fast-check'
import { forge } from '../support/forge.ts'
import { tmpDir } from '../support/tmp.ts'
import { ourArchive } from './archives.ts'
import { fuzz } from './fuzz.ts'
import type { Scan, Scanned } from './scanner.ts'

const MIB = 1 << 20
/** Seconds of processor time for a MiB, and for all that does not depend on bytes. What is read over and over takes hundreds. */
const CPU_A_MIB = 8
const CPU_BEFORE = 3
/** Seconds. Two are too many for a Ctrl-C; the machine may have much else to do. */
const LONGEST_TURN = 1.5

const dir = tmpDir({ after })
const archives: Record<string, Buffer> = { plain: await ourArchive(dir, 'none') }
for (const method of ['zstd', 'lz4', 'gzip']) archives[method] = await ourArchive(dir, method)

const scanner = fork(join(import.meta.dirname, 'scanner.ts'))
after(() => scanner.kill())

async function scan(archive: Buffer, unit: Buffer, bytes: number): Promise<void> {
  const wish: Scan = { archive: archive.toString('base64'), unit: unit.toString('base64'), bytes }
  scanner.send(wish)
  const [{ cpu, longest, error }] = (await once(scanner, 'message')) as [Scanned]
  assert.equal(error, null)
  assert.ok(cpu < CPU_BEFORE + (CPU_A_MIB * bytes) / MIB, `${cpu} s of processor time for ${bytes} bytes`)
  assert.ok(longest < LONGEST_TURN, `nobody else had a turn for ${longest} s`)
}

const hex = (text: string) => Buffer.from(text.replaceAll(' ', ''), 'hex')

/** A header of an LZ4 frame whose checksum is right. */
function lz4Header(): Buffer {
  const descriptor = hex('60 40')
  return Buffer.concat([hex('04224d18'), descriptor, Buffer.of((xxh32(descriptor) >>> 8) & 0xff)])
}

const UNITS: Record<string, Record<string, Buffer>> = {
  plain: {
    zeroes: Buffer.alloc(1),
    'magic numbers of extents': hex('564d4145'),
    'extents of the archive whose checksum is wrong': Buffer.concat([
      hex('564d4145 0000 0000'),
      archives.plain.subarray(8, 24),
    ]),
  },
  zstd: {
    'magic numbers': hex('28b52ffd'),
    'magic numbers of others': hex('04224d18 02214c18 1f8b0800'),
    'frames that claim large blocks': hex('28b52ffd 2010 000800 00000000000000'),
    'frames that claim much content': hex('28b52ffd a0 00006000 000100 0000'),
    'frames without blocks': hex('28b52ffd 2000 010000'),
    'skippable frames': hex('562a4d18 04000000'),
    'skippable frames that claim the rest': hex('562a4d18 ffffffff'),
  },
  lz4: {
    'magic numbers': hex('04224d18'),
    'legacy frames': hex('02214c18 e8030000'),
    'legacy frames without blocks': hex('02214c18'),
    'frames that claim large blocks': Buffer.concat([lz4Header(), hex('ffff0000')]),
    'frames without blocks': Buffer.concat([lz4Header(), hex('00000000')]),
  },
  gzip: {
    'our members that claim to be long': hex('1f8b08040000000000ff08005650 0400 00007000'),
    'our members that claim to be short': hex('1f8b08040000000000ff08005650 0400 1c000000'),
    'other members': hex('1f8b0800 000000000003'),
    zeroes: Buffer.alloc(1),
  },
}

for (const [name, units] of Object.entries(UNITS)) {
  describe(`behind an archive (${name})`, { timeout: 120_000 }, () => {
    for (const [what, unit] of Object.entries(units))
      test(`${what} are looked through`, () => scan(archives[name], unit, MIB / 2))
  })
}

test('zeroes behind an archive whose uuid is zeroes are looked through', () =>
  scan(forge({ uuid: Buffer.alloc(16) }), Buffer.alloc(1), 8 * MIB))

const piece = fc.constantFrom(
  ...['28b52ffd', '04224d18', '02214c18', '562a4d18', '1f8b0804', '0000000000ff080056500400', '564d4145', '0000', '00'],
  ...[
    'a0',
    '60',
    '40',
    '20',
    '10',
    '010000',
    '00007000',
    'ffffffff',
    'e8030000',
    archives.plain.toString('hex', 8, 24),
  ],
)
fuzz(
  'anything that is repeated is looked through',
  fc.record({
    name: fc.constantFrom(...Object.keys(archives)),
    unit: fc.array(piece, { minLength: 1, maxLength: 8 }).map((parts) => hex(parts.join(''))),
  }),
  ({ name, unit }) => scan(archives[name], unit, MIB / 2),
)
