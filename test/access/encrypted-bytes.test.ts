import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import { generateX25519Identity, identityToRecipient } from 'age-encryption'
import { decrypted } from '../../src/access/encrypted-bytes.ts'
import { Keyring } from '../../src/codecs/age/keyring.ts'
import { Chunk } from '../../src/core/items.ts'
import { backup } from '../../src/operations/backup.ts'
import { openArchive } from '../../src/operations/open-archive.ts'
import { encryptor } from '../../src/stages/encryptor.ts'
import { openArchiveBytes } from '../../src/storage/archive/volumes/volume-bytes.ts'
import { bytesThrough } from '../support/flow.ts'

const dir = mkdtempSync(join(tmpdir(), 'vmapipe-test-'))
after(() => rmSync(dir, { recursive: true, force: true }))
const keyFile = join(dir, 'key.txt')
const keys = () => new Keyring({ identities: [keyFile] })
const identity = await generateX25519Identity()
const recipient = await identityToRecipient(identity)
writeFileSync(keyFile, `${identity}\n`)
const content = randomBytes(5_000_000)
const path = join(dir, 'sealed.age')

const seal = async (bytes: Buffer) => {
  const chunks = await bytesThrough('bytes', [new Chunk([bytes])], [encryptor({ recipients: [recipient] })])
  return Buffer.concat(chunks.flatMap(({ buffers }) => buffers))
}

writeFileSync(path, await seal(content))

describe('an encrypted archive in any order', { timeout: 60_000 }, () => {
  test('each range gives what is there', async () => {
    const bytes = await decrypted(await openArchiveBytes(path), keys())
    assert.equal(bytes.size, content.length)
    const ranges = [
      [0, 1],
      [65535, 2],
      [65536, 65536],
      [4_999_999, 1],
      [10, 300_000],
      [0, content.length],
      [1_234_567, 3_000_000],
    ]
    for (let round = 0; round < 50; round++) {
      const offset = Math.floor(Math.random() * content.length)
      ranges.push([offset, 1 + Math.floor(Math.random() * (content.length - offset))])
    }
    await Promise.all(
      ranges.map(async ([offset, length]) => {
        const buffer = Buffer.alloc(length)
        await bytes.read(buffer, offset)
        assert.ok(buffer.equals(content.subarray(offset, offset + length)), `${offset}+${length}`)
      }),
    )
    await bytes.close()
  })

  test('a changed chunk cannot be read, at once or in a thread; its neighbours can', async () => {
    const changed = readFileSync(path)
    changed[changed.length - 30 * 65552] ^= 1
    const file = join(dir, 'changed.age')
    writeFileSync(file, changed)
    const bytes = await decrypted(await openArchiveBytes(file), keys())
    const buffer = Buffer.alloc(content.length)
    await assert.rejects(bytes.read(buffer, 0), { code: 'DAMAGED', message: /changed, cut or reordered/ })
    let readable = 0
    let refused = 0
    for (let at = 0; at + 65536 <= content.length; at += 65536) {
      const chunk = Buffer.alloc(65536)
      await bytes.read(chunk, at).then(
        () => {
          assert.ok(chunk.equals(content.subarray(at, at + 65536)))
          readable++
        },
        () => refused++,
      )
    }
    assert.equal(refused, 1)
    assert.ok(readable > 70)
    await bytes.close()
  })

  test('an archive that was cut is refused when it is opened', async () => {
    const whole = readFileSync(path)
    const file = join(dir, 'cut.age')
    for (const cut of [1, 65552 * 3, whole.length - 30, whole.length - 200]) {
      writeFileSync(file, whole.subarray(0, whole.length - cut))
      const bytes = await openArchiveBytes(file)
      await assert.rejects(decrypted(bytes, keys()), ({ code }) => code === 'DAMAGED' || code === 'INCOMPLETE')
      await bytes.close()
    }
    // Cut behind a chunk: the size alone does not tell.
    writeFileSync(file, whole.subarray(0, whole.length - (content.length % 65536) - 16))
    const bytes = await openArchiveBytes(file)
    await assert.rejects(decrypted(bytes, keys()), { code: 'DAMAGED' })
    await bytes.close()
  })

  test('an archive of drives is opened like any other, without unpacking', async () => {
    const image = join(dir, 'disk.raw')
    const disk = Buffer.concat([randomBytes(3 << 20), Buffer.alloc(1 << 20), randomBytes(1 << 20)])
    writeFileSync(image, disk)
    for (const name of ['vm.vma', 'vm.vma.zst']) {
      await backup({ drives: { a: image }, to: join(dir, name) })
      writeFileSync(join(dir, `${name}.age`), await seal(readFileSync(join(dir, name))))
      const warnings: string[] = []
      const archive = await openArchive(join(dir, `${name}.age`), { keys: keys(), warn: (line) => warnings.push(line) })
      const buffer = Buffer.alloc(disk.length)
      await archive.drive('a').read(buffer, 0)
      assert.ok(buffer.equals(disk))
      await archive.close()
      assert.deepEqual(warnings, [])
      await assert.rejects(openArchive(join(dir, `${name}.age`)), {
        code: 'USAGE',
        message: /encrypted for 1 recipient/,
      })
    }
  })
})
