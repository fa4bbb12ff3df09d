import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after } from 'node:test'
import fc from 'fast-check'
import { ArchiveHashes } from '../../src/access/archive-hashes.ts'
import { HashFile, writeHashFile } from '../../src/access/hash-file.ts'
import { openFile } from '../../src/access/open-file.ts'
import { Keyring } from '../../src/codecs/age/keyring.ts'
import { Budget } from '../../src/core/budget.ts'
import { VmapipeError } from '../../src/core/errors.ts'
import { clusterCount } from '../../src/core/geometry.ts'
import { Chunk, type ClusterItem, Manifest } from '../../src/core/items.ts'
import { clusterHasher } from '../../src/formats/vma/cluster-hash.ts'
import { vmaDeframer } from '../../src/stages/vma-deframer.ts'
import { through } from '../support/flow.ts'
import { tmpDir } from '../support/tmp.ts'
import { ourArchive, places, type Repair, repaired } from './archives.ts'
import { attempt, fuzz } from './fuzz.ts'
import { mutate, mutations } from './mutation.ts'

const dir = tmpDir({ after })
const path = join(dir, 'archive')
const plain = await ourArchive(dir, 'none')
const hasher = await clusterHasher()
/** Where a hash record begins. */
const record = plain.indexOf(Buffer.from('5652030000000000', 'hex')) - 40
assert.equal(plain.toString('latin1', record, record + 4), 'VMAE')

/** The hashes of all clusters of all drives, as the archive has them in itself; null if it has none. */
async function ownHashes(): Promise<Map<number, Uint8Array> | null> {
  const options = { budget: new Budget(48 << 20), threads: 2, warn: () => {}, keys: new Keyring() }
  const file = await openFile(path, options)
  assert.ok(typeof file !== 'string')
  try {
    const hashes = await ArchiveHashes.of(file)
    if (hashes === null) return null
    const all = new Map<number, Uint8Array>()
    for (const { id, size } of file.manifest.drives)
      if (size < 64 << 20) all.set(id, await hashes.read(id, 0, clusterCount(size)))
    return all
  } finally {
    await file.close()
  }
}

/** The hashes of the data. */
function dataHashes(items: readonly ClusterItem[]): Map<number, Uint8Array> {
  const all = new Map<number, Uint8Array>()
  for (const item of items) {
    if (item instanceof Manifest)
      for (const { id, size } of item.drives) all.set(id, new Uint8Array(clusterCount(size) * 16))
    else if (!item.isZero) all.get(item.drive)!.set(hasher.hashes(item.masks!, item.blocks), item.first * 16)
  }
  return all
}

fuzz(
  'hashes of an archive that was changed are those of its data, if it is sound',
  fc.record({
    changes: mutations([...places(plain), ...[48, 56, 64, 100, 300].map((at) => record + at)], 3),
    repair: fc.constantFrom<Repair>('nothing', 'headers', 'headers', 'data'),
  }),
  async ({ changes, repair }) => {
    const bytes = repaired(mutate(plain, changes), repair)
    writeFileSync(path, bytes)
    const own = await attempt(ownHashes, 'DAMAGED', 'INCOMPLETE')
    const chunk = new Chunk([bytes])
    const items = await attempt(() => through<ClusterItem>('bytes', [chunk], [vmaDeframer()]), 'DAMAGED', 'INCOMPLETE')
    if (items instanceof VmapipeError) return
    assert.ok(
      !(own instanceof VmapipeError),
      `sound, but its hashes are not read: ${(own as VmapipeError | null)?.line}`,
    )
    const expected = dataHashes(items)
    for (const [drive, hashes] of own ?? []) assert.deepEqual(Buffer.from(hashes), Buffer.from(expected.get(drive)!))
  },
)

const kept = join(dir, 'kept')
const manifest = new Manifest({
  uuid: Buffer.alloc(16),
  ctime: 0,
  configs: [],
  drives: [{ id: 1, name: 'd', size: 50 << 20 }],
})
const hashed = { manifest, end: Buffer.alloc(16), size: 1000, mtime: 5n }
const content = Buffer.from(Uint8Array.from({ length: 800 * 16 }, (_, at) => at % 253))
await writeHashFile(kept, hashed, (add) => add(1, 0, content))

fuzz(
  'a file of hashes that was changed gives the right ones, or is refused',
  mutations([0, 8, 60, 68, 4096, 8192], 3),
  async (changes) => {
    const changed = join(dir, 'changed')
    writeFileSync(changed, mutate(readFileSync(kept), changes))
    const read = await attempt(async () => {
      const file = await HashFile.open(changed, hashed)
      try {
        return await file!.read(1, 0, 800)
      } finally {
        await file?.close()
      }
    }, 'DAMAGED')
    if (!(read instanceof VmapipeError)) assert.ok(content.equals(read))
  },
)
