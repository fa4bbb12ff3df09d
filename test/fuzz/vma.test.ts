import { after } from 'node:test'
import fc from 'fast-check'
import { tmpDir } from '../support/tmp.ts'
import { ourArchive, places, type Repair, repaired, theirArchives } from './archives.ts'
import { fuzz } from './fuzz.ts'
import { mutate, mutations } from './mutation.ts'
import { Ground } from './reading.ts'

const dir = tmpDir({ after })
const ground = new Ground(dir)
const plain = await ourArchive(dir, 'none')
const compressed: Record<string, Buffer> = {
  zstd: await ourArchive(dir, 'zstd'),
  lz4: await ourArchive(dir, 'lz4'),
  gzip: await ourArchive(dir, 'gzip'),
  ...theirArchives(plain),
}

const piece = fc.oneof(fc.constant(undefined), fc.constantFrom(1 << 20, 65_536, 4099))
const repair = fc.constantFrom<Repair>('nothing', 'headers', 'headers', 'data', 'data')

fuzz(
  'an archive that was changed, and its checksums with it, is read or refused',
  fc.record({ changes: mutations(places(plain)), repair, piece }),
  ({ changes, repair, piece }) => ground.read({ bytes: repaired(mutate(plain, changes), repair), piece }),
)

fuzz(
  'a compressed archive that was changed is read or refused',
  fc.record({ how: fc.constantFrom(...Object.keys(compressed)), changes: mutations([0, 4, 6, 15, 20]), piece }),
  ({ how, changes, piece }) => ground.read({ bytes: mutate(compressed[how], changes), piece }),
)

fuzz(
  'frames of several kinds one after the other, cut anywhere, are read or refused',
  fc.array(
    fc.record({
      how: fc.constantFrom('plain', ...Object.keys(compressed)),
      from: fc.nat(200_000),
      to: fc.nat(200_000),
    }),
    { minLength: 1, maxLength: 4 },
  ),
  (parts) => {
    const all: Record<string, Buffer> = { plain, ...compressed }
    const pieces = parts.map(({ how, from, to }) =>
      all[how].subarray(from % 3 === 0 ? 0 : from, to % 3 === 0 ? undefined : to),
    )
    return ground.read({ bytes: Buffer.concat(pieces) })
  },
)
