import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after } from 'node:test'
import { crc32 } from 'node:zlib'
import fc from 'fast-check'
import { Budget } from '../../src/core/budget.ts'
import { VmapipeError } from '../../src/core/errors.ts'
import { indexArchive } from '../../src/operations/index-archive.ts'
import { openArchive } from '../../src/operations/open-archive.ts'
import { restore } from '../../src/operations/restore.ts'
import { verify } from '../../src/operations/verify.ts'
import { tmpDir } from '../support/tmp.ts'
import { ourArchive, places, type Repair, repaired } from './archives.ts'
import { attempt, fuzz } from './fuzz.ts'
import { mutate, mutations } from './mutation.ts'

const BUDGET = 48 << 20
/** What is read at once of a drive, at places that are no cluster's. */
const PIECE = 300_001

const dir = tmpDir({ after })
const path = join(dir, 'archive')
const archives: Record<string, Buffer> = {}
for (const how of ['none', 'zstd', 'lz4', 'gzip']) archives[how] = await ourArchive(dir, how)
const plain = archives.none

/** An archive of somebody else's, without an end and an index, and the index that was made for it. */
const bare = join(dir, 'bare')
writeFileSync(bare, await ourArchive(dir, 'zstd', { checksums: false, index: false }))
await indexArchive({ archive: bare })
const index = readFileSync(`${bare}.idx`)

/** All drives that can be had, or why not; of each its content, or why a part of it is not to be had. */
async function readDrives(path: string): Promise<Map<string, Buffer | VmapipeError> | VmapipeError> {
  const budget = new Budget(BUDGET)
  const archive = await attempt(() => openArchive(path, { budget, threads: 2 }), 'DAMAGED', 'INCOMPLETE', 'USAGE')
  if (archive instanceof VmapipeError) return archive
  const contents = new Map<string, Buffer | VmapipeError>()
  try {
    // Nobody reads more of a drive than the archive could hold twice over.
    for (const { name, size } of archive.manifest.drives.filter((drive) => drive.size < 64 << 20)) {
      const content = Buffer.alloc(size)
      const drive = archive.drive(name)
      const reads: Promise<void>[] = []
      for (let at = 0; at < size; at += PIECE) reads.push(drive.read(content.subarray(at, at + PIECE), at))
      const outcomes = await Promise.all(reads.map((read) => attempt(() => read, 'DAMAGED', 'INCOMPLETE')))
      contents.set(name, outcomes.find((outcome) => outcome instanceof VmapipeError) ?? content)
      await drive.close()
    }
  } finally {
    await archive.close()
  }
  assert.ok(budget.highWater <= BUDGET, `${budget.highWater} bytes at once`)
  return contents
}

/** Where verify finds nothing wrong, drives read as they are restored. */
async function compare(path: string, { indexLies = false } = {}): Promise<void> {
  const read = await readDrives(path)
  const sound = await attempt(() => verify({ from: path, buffer: BUDGET }), 'DAMAGED', 'INCOMPLETE')
  if (sound instanceof VmapipeError) return
  // In a compressed one nothing may be found without an index, or with one that lies.
  if (read instanceof VmapipeError && (read.code === 'USAGE' || indexLies)) return
  assert.ok(!(read instanceof VmapipeError), `verified, not opened: ${(read as VmapipeError).line}`)
  for (const [name, content] of read) {
    if (indexLies && content instanceof VmapipeError) continue
    assert.ok(Buffer.isBuffer(content), `verified, not read: ${(content as VmapipeError).line}`)
    const raw = join(dir, 'back.raw')
    await restore({ from: path, drives: { [name]: raw }, force: true })
    assert.ok(readFileSync(raw).equals(content), `drive '${name}' reads otherwise than it is restored`)
  }
}

fuzz(
  'drives of an archive that was changed read as they are restored, or are refused',
  fc.record({
    how: fc.constantFrom('none', 'none', ...Object.keys(archives)),
    changes: mutations(places(plain), 3),
    repair: fc.constantFrom<Repair>('nothing', 'headers', 'data'),
  }),
  async ({ how, changes, repair }) => {
    writeFileSync(path, how === 'none' ? repaired(mutate(plain, changes), repair) : mutate(archives[how], changes))
    await compare(path)
  },
)

function signed(bytes: Buffer): Buffer {
  if (bytes.length < 76) return bytes
  bytes.writeUInt32BE(crc32(bytes.subarray(76)), 68)
  bytes.writeUInt32BE(crc32(bytes.subarray(0, 72)), 72)
  return bytes
}

fuzz(
  'an index beside an archive that was changed, and its checksums with it, leads nobody astray',
  fc.record({ changes: mutations([8, 12, 28, 36, 44, 52, 60, 76, 80, 100], 3), repair: fc.boolean() }),
  async ({ changes, repair }) => {
    const changed = mutate(index, changes)
    writeFileSync(`${bare}.idx`, repair ? signed(changed) : changed)
    await compare(bare, { indexLies: true })
  },
)
