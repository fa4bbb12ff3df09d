import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after } from 'node:test'
import { crc32 } from 'node:zlib'
import fc from 'fast-check'
import { indexArchive } from '../../src/operations/index-archive.ts'
import { tmpDir } from '../support/tmp.ts'
import { compare } from './any-order.ts'
import { ourArchive, places, type Repair, repaired } from './archives.ts'
import { fuzz } from './fuzz.ts'
import { mutate, mutations } from './mutation.ts'

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
