// biome-ignore-all lint/suspicious/noTemplateCurlyInString: parameters of a config look like this
import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { readPipeline } from '../../src/config/read.ts'
import { stages } from '../../src/config/registry.ts'
import { VmapipeError } from '../../src/core/errors.ts'
import { formatBytes, parseBytes } from '../../src/core/size.ts'
import { formatNbdAddress, parseNbdUri } from '../../src/protocol/nbd/uri.ts'
import { parsePlace } from '../../src/storage/archive/spec.ts'
import { parseDriveSpec } from '../../src/storage/spec.ts'
import { attempt, checkError, fuzz } from './fuzz.ts'
import { mutate, mutations } from './mutation.ts'

const folder = join(import.meta.dirname, '../../pipelines')
const CONFIGS = readdirSync(folder)
  .filter((name) => name.endsWith('.yaml'))
  .map((name) => readFileSync(join(folder, name)))
const SET = { DISK: 'a.raw', CONFIG: 'c', ARCHIVE: 'x.vma', TARGET: 'ssh://a/b', FOLDER: 'f', METHOD: 'lz4' }

/** Where YAML is at its most inventive. */
const snippet = fc.constantFrom(
  ...['&a [*a]', '*a', '&a', '<<: *a', '!!binary ""', '!!js/function x', '? [a]\n: b', '---\n', '...\n', '%YAML 1.1\n'],
  ...[
    '__proto__: {x: 1}',
    'constructor: 1',
    'toString:',
    '${A}',
    '${',
    '$${',
    '${__proto__}',
    '${HOME:-x}',
    '\t',
    '\0',
  ],
  ...[
    'stages:',
    '- source',
    '- {}',
    '- []',
    '- null',
    '- 1',
    '- compressor: {level: 1e400}',
    'buffer: -1',
    'threads: .nan',
  ],
  ...[
    '"\\ud800"',
    "''",
    '|2\n  x',
    '>+\n',
    '# x',
    '{',
    '}',
    '[',
    ']',
    ': ',
    '\n',
    '\n  ',
    '0o17',
    '1_000',
    '2026-01-01',
  ],
)
/** Many times over, too. */
const piled = fc.tuple(snippet, fc.constantFrom(1, 1, 1, 1, 3, 3, 100, 1000)).map(([text, times]) => text.repeat(times))

const insertion = fc.record({ at: fc.nat(3000), text: piled })
const config = fc.record({
  base: fc.nat(CONFIGS.length - 1),
  insertions: fc.array(insertion, { maxLength: 3 }),
  changes: mutations([], 3),
})

fuzz('a pipeline config is read, or refused with file, line and column', config, async (input) => {
  let text = CONFIGS[input.base].toString()
  for (const { at, text: more } of input.insertions) {
    const place = at % (text.length + 1)
    text = text.slice(0, place) + more + text.slice(place)
  }
  // What is longer is not even read.
  text = mutate(Buffer.from(text), input.changes)
    .toString()
    .slice(0, 64 << 10)
  const read = await attempt(
    () => readPipeline('p.yaml', text, { set: SET, env: { HOME: '/h' }, registry: stages }),
    'CONFIG',
  )
  assert.equal(({} as Record<string, unknown>).x, undefined, 'every object has a property x')
  if (!(read instanceof VmapipeError)) return
  assert.match(read.message, /^p\.yaml:/)
  for (const other of read.suppressed) checkError(other as VmapipeError, ['CONFIG'])
})

const SPECS = [
  ...['disk.raw', '/dev/sda', 'qcow2:a.qcow2', 'nbd://host:10809/export', 'nbd+unix:///x?socket=/tmp/s', 'raw:x', '-'],
  ...[
    'ssh://user@host:22/path/vm.vma.zst',
    'ssh://[::1]/~/x',
    'exec:cat x',
    'http://a/b',
    'nbds://x',
    'vmdk:a',
    'nbd:',
  ],
]
const text = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 40 }),
  fc
    .tuple(fc.constantFrom(...SPECS), mutations([], 3))
    .map(([spec, changes]) => mutate(Buffer.from(spec), changes).toString()),
)

fuzz('where a drive or an archive is, is understood, or refused', text, async (spec) => {
  await attempt(() => parseDriveSpec(spec), 'USAGE')
  await attempt(() => parsePlace(spec), 'USAGE')
  const address = await attempt(() => parseNbdUri(spec), 'USAGE')
  if (address instanceof VmapipeError || /[\ud800-\udfff\ufffd]/.test(spec)) return
  assert.deepEqual(parseNbdUri(formatNbdAddress(address)), address)
})

const size = fc.oneof(
  fc.string({ maxLength: 20 }),
  fc
    .tuple(
      fc.double({ min: 0, noNaN: true }),
      fc.constantFrom('', ' '),
      fc.constantFrom('', 'k', 'M', 'GiB', 'tb', 'PB', 'iB', 'B', '/s', 'MiB/s'),
    )
    .map((parts) => parts.join('')),
)

fuzz('a size is a whole number of bytes that a number can hold, or none at all', size, (input) => {
  const bytes = parseBytes(input)
  assert.ok(bytes === undefined || (Number.isSafeInteger(bytes) && bytes >= 0), `${input} is ${bytes}`)
  if (bytes !== undefined) assert.match(formatBytes(bytes), /^[\d.]+ ([KMGTP]i)?B$/)
})
