import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after } from 'node:test'
import { generateX25519Identity, identityToRecipient } from 'age-encryption'
import fc from 'fast-check'
import { encryptor } from '../../src/stages/encryptor.ts'
import { throughBytes } from '../support/bytes.ts'
import { tmpDir } from '../support/tmp.ts'
import { compare } from './any-order.ts'
import { ourArchive, theirArchives } from './archives.ts'
import { fuzz } from './fuzz.ts'
import { mutate, mutations } from './mutation.ts'
import { Ground } from './reading.ts'

const dir = tmpDir({ after })
const ground = new Ground(dir)
const plain = await ourArchive(dir, 'none')
const bare = { checksums: false, index: false }
const archives: Record<string, Buffer> = {
  plain,
  'bare plain': await ourArchive(dir, 'none', bare),
  zstd: await ourArchive(dir, 'zstd'),
  'bare zstd': await ourArchive(dir, 'zstd', bare),
  lz4: await ourArchive(dir, 'lz4'),
  gzip: await ourArchive(dir, 'gzip'),
  'bare gzip': await ourArchive(dir, 'gzip', bare),
  ...theirArchives(plain),
}

const identity = await generateX25519Identity()
const recipient = await identityToRecipient(identity)
const keyFile = join(dir, 'key.txt')
writeFileSync(keyFile, `${identity}\n`)
process.env.VMAPIPE_IDENTITY_FILE = keyFile

/** Mostly a whole archive, sometimes a part of one. */
const part = fc.record({
  how: fc.constantFrom(...Object.keys(archives)),
  from: fc.oneof({ weight: 4, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.nat(60_000) }),
  to: fc.oneof({ weight: 2, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary: fc.nat(70_000) }),
})
const layer = fc.record({
  parts: fc.array(part, { minLength: 1, maxLength: 2 }),
  isSealed: fc.boolean(),
  changes: mutations([0, 100, 200, 65_536, 65_768], 1),
})
const layers = fc.array(layer, { minLength: 1, maxLength: 2 })

type Layers = typeof layers extends fc.Arbitrary<infer T> ? T : never

function isAnySealed(given: Layers): boolean {
  return given.some(({ isSealed }) => isSealed)
}

async function bytesOf(given: Layers): Promise<Buffer> {
  const all: Buffer[] = []
  for (const { parts, isSealed, changes } of given) {
    const bytes = Buffer.concat(parts.map(({ how, from, to }) => archives[how].subarray(from, to)))
    const sealed = isSealed ? await throughBytes(encryptor({ recipients: [recipient] }), [bytes]) : bytes
    all.push(mutate(sealed, changes))
  }
  return Buffer.concat(all)
}

fuzz('archives one after the other, encrypted or not, are read or refused', layers, async (given) => {
  await ground.read({ bytes: await bytesOf(given), isSealed: isAnySealed(given) })
})

fuzz('and what is sound of them is read in any order as it is restored', layers, async (given) => {
  const path = join(dir, 'layered')
  writeFileSync(path, await bytesOf(given))
  await compare(path, { isSealed: isAnySealed(given) })
})
