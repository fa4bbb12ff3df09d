import assert from 'node:assert/strict'
import { createCipheriv, createHash } from 'node:crypto'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import { Decrypter, generateX25519Identity, identityToRecipient } from 'age-encryption'
import { vmapipe } from './cli.ts'

const dir = mkdtempSync(join(tmpdir(), 'vmapipe-test-'))
after(() => rmSync(dir, { recursive: true, force: true }))
const image = join(dir, 'disk.raw')
const identity = await generateX25519Identity()
const recipient = await identityToRecipient(identity)
writeFileSync(join(dir, 'key.txt'), identity)
const noise = createHash('sha256').update('noise').digest()
writeFileSync(image, createCipheriv('aes-256-ctr', noise, Buffer.alloc(16)).update(Buffer.alloc(6 << 20)))

const place = (name: string) => join(dir, name)
const backup = (...args: string[]) => vmapipe(['backup', '-d', `a=${image}`, ...args])

describe('a backup to several places', { timeout: 120_000 }, () => {
  test('each is whole; what is compressed alike is compressed once, and the encrypted one has the same bytes within', async () => {
    const places = ['-o', place('near.vma.zst'), '-o', place('far.vma.zst.age')]
    const done = await backup(...places, '--recipient', recipient, '--verify', '--identity', place('key.txt'))
    assert.equal(done.code, 0, done.stderr)
    assert.match(done.stderr, /near\.vma\.zst was read back/)
    assert.match(done.stderr, /far\.vma\.zst\.age was read back/)
    const decrypter = new Decrypter()
    decrypter.addIdentity(identity)
    const within = await decrypter.decrypt(readFileSync(place('far.vma.zst.age')))
    assert.ok(Buffer.from(within).equals(readFileSync(place('near.vma.zst'))))
  })

  test('each place may have a compression of its own', async () => {
    const { code, stderr } = await backup('-o', place('a.vma'), '-o', place('b.vma.lz4'))
    assert.equal(code, 0, stderr)
    for (const name of ['a.vma', 'b.vma.lz4']) assert.equal((await vmapipe(['verify', place(name)])).code, 0)
  })

  test('a place that is not required may fail; a required one may not', async () => {
    const nowhere = place('missing/x.vma')
    const also = await backup('-o', place('c.vma'), '--also', nowhere)
    assert.equal(also.code, 0, also.stderr)
    assert.match(also.stderr, /missing\/x\.vma' failed.*go on without it/)
    assert.equal((await vmapipe(['verify', place('c.vma')])).code, 0)
    const required = await backup('-o', place('d.vma'), '-o', nowhere)
    assert.equal(required.code, 1)
    assert.ok(!existsSync(place('d.vma')))
  })

  test('the config that is printed does the same', async () => {
    const printed = await backup('-o', place('e.vma.zst'), '--also', place('f.vma.zst'), '--print-pipeline')
    assert.equal(printed.code, 0, printed.stderr)
    writeFileSync(place('both.yaml'), printed.stdout)
    assert.equal((await vmapipe(['run', place('both.yaml')])).code, 0)
    for (const name of ['e.vma.zst', 'f.vma.zst']) assert.equal((await vmapipe(['verify', place(name)])).code, 0)
  })

  test('the same place twice, and recipients without an encrypted place, are refused', async () => {
    const twice = await backup('-o', place('g.vma'), '-o', place('g.vma'))
    assert.equal(twice.code, 2)
    assert.match(twice.stderr, /g\.vma twice/)
    const plain = await backup('-o', place('g.vma'), '-o', place('h.vma'), '--recipient', recipient)
    assert.equal(plain.code, 2)
    assert.match(plain.stderr, /end it in \.age/)
  })
})
