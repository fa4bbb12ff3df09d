import { join } from 'node:path'
import { after } from 'node:test'
import fc from 'fast-check'
import { type Forgery, forge } from '../support/forge.ts'
import { tmpDir } from '../support/tmp.ts'
import { fuzz } from './fuzz.ts'
import { Ground } from './reading.ts'

const ground = new Ground(tmpDir({ after }))

/** What names lead astray with, piece by piece. */
const pieces = [
  ...[
    '..',
    '.',
    '/',
    '\\',
    '\0',
    '\n',
    '\r',
    '\x1b[2J',
    '\x7f',
    '\u202e',
    '\u2028',
    '\ud800',
    'é',
    ' ',
    '-',
    '~',
    '%2f',
  ],
  ...['victim', 'in', 'out', 'folder', 'disk-', '.raw', 'vmstate', 'qemu-server.conf', 'd', '.partial', '__proto__'],
  ...[ground.root, join(ground.root, 'victim'), '/dev/full', '/proc/self/mem', 'C:', 'nul', '$(touch x)', '`id`', '*'],
  ...['x'.repeat(200), 'é'.repeat(200), 'x'.repeat(64_000)],
]
const name = fc.oneof(
  fc.array(fc.constantFrom(...pieces), { maxLength: 4 }).map((parts) => parts.join('')),
  fc.constantFrom(
    'd',
    'e',
    'vmstate',
    'qemu-server.conf',
    'disk-d.raw',
    '../victim',
    '../../victim',
    '../out/../victim',
  ),
)

const archive: fc.Arbitrary<Forgery> = fc
  .record({
    drives: fc.array(fc.record({ name, size: fc.constantFrom(1, 512, 65_536, 70_000) }), { maxLength: 4 }),
    configs: fc.array(fc.record({ name, data: fc.uint8Array({ maxLength: 20 }).map((data) => Buffer.from(data)) }), {
      maxLength: 4,
    }),
  })
  .map(({ drives, configs }) => ({ drives: drives.map((drive, index) => ({ id: 1 + index * 3, ...drive })), configs }))
  // What does not fit into a header cannot be forged this way.
  .filter(({ drives, configs }) => [...drives!, ...configs!].reduce((sum, { name }) => sum + name.length, 0) < 400_000)
  .filter(({ drives, configs }) => [...drives!, ...configs!].every(({ name }) => Buffer.byteLength(name) < 65_535))

/** Where a link in the folder leads to that somebody planted there. */
const victims = [
  '../victim',
  '../../victim',
  join(ground.root, 'victim'),
  '../../folder',
  '/dev/full',
  '../nowhere',
  '.',
]
const links = fc.dictionary(
  fc.constantFrom('disk-d.raw', 'disk-e.raw', 'vmstate.bin', 'qemu-server.conf', '.disk-d.raw', 'disk-d.raw.partial'),
  fc.constantFrom(...victims),
  { maxKeys: 4 },
)

fuzz(
  'no name in an archive, and no link in the folder, leads out of the folder',
  fc.record({ archive, links, force: fc.boolean() }),
  ({ archive, links, force }) => ground.read({ bytes: forge(archive) }, { links, force }),
)
