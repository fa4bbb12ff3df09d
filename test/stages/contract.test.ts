import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { stages } from '../../src/config/registry.ts'
import { CLUSTER_SIZE } from '../../src/core/geometry.ts'
import { Chunk, type Item, Run } from '../../src/core/items.ts'
import { bytesThrough, manifestOf, through } from '../support/flow.ts'
import { memoryParent } from '../support/parents.ts'
import { type ContractCase, stageContract } from './contract.ts'

const dir = mkdtempSync(join(tmpdir(), 'vmapipe-test-'))
after(() => rmSync(dir, { recursive: true, force: true }))
let files = 0
const fresh = (name: string) => join(dir, `${files++}-${name}`)

/** A guest that writes nothing. */
const idleGuest = { begin() {}, settled: async () => {}, end() {} }

const make = (name: string, options: unknown = {}) => stages.get(name)!(options)

/** Half of it compressible, a quarter zero blocks; 24 extents, 88 MiB: more than the contract's budget. */
const EXTENTS = 24
const extent = Buffer.alloc(58 * CLUSTER_SIZE, 'not very random ')
for (let at = 0; at < extent.length; at += 16384) extent.fill(0, at, at + 4096)
for (let at = 4096; at < extent.length; at += 12288) extent.writeUInt32LE(Math.imul(at, 2654435761) >>> 0, at)

function clusters(): Item[] {
  const runs = Array.from({ length: EXTENTS }, (_, index) => new Run(1, index * 58, 58, [extent]))
  return [manifestOf(EXTENTS * 58 * CLUSTER_SIZE), ...runs]
}
const chunks = (): Item[] => Array.from({ length: EXTENTS }, () => new Chunk([extent]))
const archive = () => through<Chunk>('clusters', clusters(), [make('vma-framer')])

const image = fresh('image.raw')
writeFileSync(image, Buffer.concat(Array.from({ length: EXTENTS }, () => extent)))

/** A pair of keys for tests alone. */
const RECIPIENT = 'age1wun7d3s74gtd956333l05tfsvk3sarlnxavm58h23w4tadlyzf2qf7xxlt'
const identity = fresh('identity')
writeFileSync(identity, 'AGE-SECRET-KEY-1SXYVDQERMYDP5ZKG2K6YCENR7NFELWYQD72GHYY8FDPZLVLGFSDQRGU0XX\n')

// Volumes as split(1) makes them.
for (const number of [0, 1]) {
  writeFileSync(`${image}.00${number}`, Buffer.concat(Array.from({ length: EXTENTS / 2 }, () => extent)))
}

const cases: Record<string, ContractCase> = {
  'cluster-source': {
    stage: () =>
      make('cluster-source', {
        drives: { a: image, b: image },
        uuid: '00000000-0000-4000-8000-000000000000',
        ctime: 1,
      }),
  },
  'chain-source': {
    stage: async () => {
      const full = fresh('full.vma')
      const bytes = await bytesThrough('clusters', clusters(), [make('vma-framer')])
      writeFileSync(full, Buffer.concat(bytes.flatMap(({ buffers }) => buffers)))
      return make('chain-source', { from: full })
    },
  },
  'write-interceptor': { stage: () => make('write-interceptor', { guest: idleGuest }), input: clusters },
  'drive-filter': { stage: () => make('drive-filter'), input: clusters },
  'zero-elider': { stage: () => make('zero-elider'), input: clusters },
  'change-filter': {
    stage: async () =>
      make('change-filter', { since: 'parent', against: await memoryParent({ 'drive-scsi0': extent }) }),
    input: clusters,
  },
  'vma-framer': { stage: () => make('vma-framer'), input: clusters, empty: 'STAGE' },
  compressor: { stage: () => make('compressor'), input: chunks },
  sink: { stage: () => make('sink', { to: fresh('archive') }), input: chunks },
  source: { stage: () => make('source', { from: image }) },
  decompressor: {
    stage: () => make('decompressor'),
    input: () => bytesThrough('bytes', chunks(), [make('compressor')]),
    empty: 'INCOMPLETE',
  },
  encryptor: {
    stage: () => make('encryptor', { recipients: [RECIPIENT] }),
    input: chunks,
    deterministic: false,
  },
  decryptor: {
    stage: () => make('decryptor', { identities: [identity] }),
    input: () => bytesThrough('bytes', chunks(), [make('encryptor', { recipients: [RECIPIENT] })]),
  },
  'vma-deframer': { stage: () => make('vma-deframer'), input: archive, empty: 'INCOMPLETE' },
  'zero-expander': { stage: () => make('zero-expander'), input: clusters },
  'cluster-writer': {
    stage: () => make('cluster-writer', { into: fresh('restored') }),
    input: () => through('clusters', clusters(), [make('zero-expander')]),
    empty: 'INCOMPLETE',
  },
  verifier: { stage: () => make('verifier'), input: clusters, empty: 'INCOMPLETE' },
  'rate-limit': { stage: () => make('rate-limit', { rate: '10G/s' }), input: chunks },
  hash: {
    stage: () => make('hash', { method: ['xxh3', 'sha256'], to: fresh('hash') }),
    input: chunks,
  },
  exec: { stage: () => make('exec', { command: ['cat'] }), input: chunks },
  tee: {
    stage: () =>
      make('tee', {
        branches: [
          { name: 'a', stages: [make('compressor', { method: 'lz4' }), make('sink', { to: fresh('branch') })] },
          { name: 'b', required: false, stages: [make('sink', { to: fresh('branch') })] },
        ],
      }),
    input: chunks,
  },
  splitter: { stage: () => make('splitter', { to: fresh('volumes'), size: '5MB' }), input: chunks },
  joiner: { stage: () => make('joiner', { from: `${image}.000` }) },
  progress: { stage: () => make('progress', { every: 0.01 }), input: chunks },
  census: { stage: () => make('census'), input: clusters },
  delay: { stage: () => make('delay', { ms: 0.01 }), input: chunks },
  fault: { stage: () => make('fault', { 'at-byte': '1T' }), input: chunks },
}

test('every stage is under contract', () => {
  // A guest-source is no stage of its own: it runs its pipeline with others in its place (test/live/guest).
  assert.deepEqual([...Object.keys(cases), 'guest-source'].sort(), [...stages.keys()].sort())
})

for (const [name, contract] of Object.entries(cases)) stageContract(name, contract)
