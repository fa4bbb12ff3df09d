import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import { generateHybridIdentity, generateX25519Identity, identityToRecipient } from 'age-encryption'
import type { VmapipeError } from '../../src/core/errors.ts'
import { Findings } from '../../src/core/findings.ts'
import { Chunk } from '../../src/core/items.ts'
import { PAYLOAD_NONCE, SEALED } from '../../src/formats/age/payload.ts'
import { decryptor } from '../../src/stages/decryptor.ts'
import { encryptor } from '../../src/stages/encryptor.ts'
import { bytesThrough } from '../support/flow.ts'
import { needs } from '../support/tools.ts'

const dir = mkdtempSync(join(tmpdir(), 'vmapipe-test-'))
after(() => rmSync(dir, { recursive: true, force: true }))
const keyFile = join(dir, 'key.txt')
const identity = await generateX25519Identity()
const recipient = await identityToRecipient(identity)
writeFileSync(keyFile, `# a comment\n\n${identity}\n`)

const joined = (chunks: Chunk[]) => Buffer.concat(chunks.flatMap(({ buffers }) => buffers))
const pieces = (bytes: Buffer, size = 300_000) => {
  const items: Chunk[] = []
  for (let at = 0; at < bytes.length; at += size) items.push(new Chunk([bytes.subarray(at, at + size)]))
  return items
}
const encrypt = async (bytes: Buffer, options = {}, size?: number) =>
  joined(await bytesThrough('bytes', pieces(bytes, size), [encryptor({ recipients: [recipient], ...options })]))
const decrypt = async (bytes: Buffer, options = {}, size?: number) =>
  joined(await bytesThrough('bytes', pieces(bytes, size), [decryptor({ identities: [keyFile], ...options })]))

/** A file descriptor from which this text comes. */
function fdWith(text: string): number {
  const path = join(dir, `text-${Math.random()}`)
  writeFileSync(path, text)
  return openSync(path, 'r')
}

const SIZES = [0, 1, 65535, 65536, 65537, 16 * 65536 - 1, 16 * 65536, 16 * 65536 + 1, 7_000_001]

describe('encryption', { timeout: 300_000 }, () => {
  test('what is encrypted comes back, at every kind of end', async () => {
    for (const size of SIZES) {
      const content = randomBytes(size)
      const sealed = await encrypt(content)
      assert.ok((await decrypt(sealed)).equals(content), `${size} bytes`)
      assert.ok((await decrypt(sealed, {}, 70_001)).equals(content), `${size} bytes in odd pieces`)
    }
  })

  test("Debian's age reads ours, and we read its", needs('age'), async () => {
    for (const size of SIZES) {
      const content = randomBytes(size)
      const sealed = join(dir, 'sealed')
      writeFileSync(sealed, await encrypt(content))
      assert.ok(execFileSync('age', ['-d', '-i', keyFile, sealed], { maxBuffer: 1 << 25 }).equals(content))
      writeFileSync(join(dir, 'content'), content)
      execFileSync('age', ['-r', recipient, '-o', sealed, join(dir, 'content')])
      assert.ok((await decrypt(readFileSync(sealed))).equals(content), `${size} bytes`)
    }
  })

  test('several recipients, from a file too, and a post-quantum one: each key opens it', async () => {
    const others = [await generateX25519Identity(), await generateX25519Identity()]
    const list = join(dir, 'recipients.txt')
    const lines = await Promise.all(others.map((other) => identityToRecipient(other)))
    writeFileSync(list, `# the office\r\n${lines.join('\r\n')}\n`)
    const content = randomBytes(100_000)
    const sealed = await encrypt(content, { 'recipients-files': [list] })
    for (const other of others) {
      const file = join(dir, 'other.txt')
      writeFileSync(file, other)
      assert.ok((await decrypt(sealed, { identities: [file] })).equals(content))
    }
    const hybrid = await generateHybridIdentity()
    const file = join(dir, 'hybrid.txt')
    writeFileSync(file, hybrid)
    const quantum = await encrypt(content, { recipients: [await identityToRecipient(hybrid)] })
    assert.ok((await decrypt(quantum, { identities: [file] })).equals(content))
  })

  test('a passphrase comes from a file descriptor', async () => {
    const [write, read, wrong] = [fdWith('correct horse\n'), fdWith('correct horse'), fdWith('incorrect horse')]
    const content = randomBytes(70_000)
    const sealed = await encrypt(content, { recipients: [], 'passphrase-fd': write })
    assert.ok((await decrypt(sealed, { identities: [], 'passphrase-fd': read })).equals(content))
    await assert.rejects(decrypt(sealed, { 'passphrase-fd': wrong }), {
      code: 'USAGE',
      message: /passphrase does not open it/,
    })
    for (const fd of [write, read, wrong]) closeSync(fd)
  })

  test('a passphrase is asked for at the terminal, which does not show it', needs('script'), async () => {
    const code = join(dir, 'ask.ts')
    const module = join(import.meta.dirname, '../../src/codecs/age/passphrase.ts')
    writeFileSync(
      code,
      `import { passphraseFrom } from '${module}'
      console.log('got', (await passphraseFrom({ isNew: true })()).length)`,
    )
    const child = spawn('script', ['-qec', `${process.execPath} ${code}`, '/dev/null'], {
      timeout: 30_000,
      env: { ...process.env, NO_COLOR: '1' },
    })
    let seen = ''
    let asked = 0
    child.stdout.on('data', (bytes) => {
      seen += bytes
      for (const asking of [/Passphrase: /, /The same again: /].slice(asked)) {
        if (!asking.test(seen)) break
        asked++
        child.stdin.write('pa55word\r')
      }
    })
    await once(child, 'close')
    assert.match(seen, /Passphrase: \s+The same again: \s+got 8/)
  })

  test('an archive that is not encrypted passes as it is', async () => {
    const content = randomBytes(1_000_000)
    assert.ok((await decrypt(content)).equals(content))
    for (const short of ['', 'a', 'age-encryption.org', 'age-encryption.org/v2\n-> X25519 a\n']) {
      assert.equal((await decrypt(Buffer.from(short), {}, 5)).toString(), short)
    }
  })

  test('wrong, missing and unusable keys: what they are is said, and no secret is shown', async () => {
    const sealed = await encrypt(randomBytes(10))
    const said = async (outcome: Promise<unknown>) => {
      const error = await outcome.then(
        () => assert.fail('it was accepted'),
        (error) => error as VmapipeError,
      )
      assert.equal(error.code, 'USAGE')
      assert.doesNotMatch(error.line, /AGE-SECRET-KEY-(PQ-)?1[0-9A-Z]/)
      return error.line
    }
    const file = (text: string) => {
      const path = join(dir, 'odd.txt')
      writeFileSync(path, text)
      return path
    }
    const secret = readFileSync(keyFile, 'utf8').split('\n')[2]
    delete process.env.VMAPIPE_IDENTITY_FILE
    assert.match(await said(decrypt(sealed, { identities: [] })), /encrypted for 1 recipient \(X25519\).*--identity/)
    assert.match(
      await said(decrypt(sealed, { identities: [file(await generateX25519Identity())] })),
      /none of the identities/,
    )
    assert.match(
      await said(decrypt(sealed, { identities: [file(recipient)] })),
      /line 1 of '.*odd.txt' is a public key/,
    )
    assert.match(await said(decrypt(sealed, { identities: [file(`${secret}x`)] })), /is not a secret key/)
    assert.match(await said(decrypt(sealed, { identities: [file('# nothing')] })), /has no identities/)
    assert.match(await said(decrypt(sealed, { identities: [file('x'.repeat(1 << 21))] })), /too large/)
    assert.match(await said(encrypt(Buffer.alloc(1), { recipients: [] })), /nobody could read/)
    assert.match(await said(encrypt(Buffer.alloc(1), { recipients: [secret] })), /is a secret key/)
    assert.match(await said(encrypt(Buffer.alloc(1), { recipients: ['ssh-ed25519 AAAA'] })), /is an ssh key/)
    assert.match(
      await said(
        encrypt(Buffer.alloc(1), { recipients: [`${recipient.slice(0, -1)}${recipient.endsWith('q') ? 'p' : 'q'}`] }),
      ),
      /is not a recipient/,
    )
    assert.match(await said(decrypt(Buffer.from('-----BEGIN AGE ENCRYPTED FILE-----\nxx\n'))), /armor/)
    process.env.VMAPIPE_IDENTITY_FILE = keyFile
    assert.equal((await decrypt(sealed, { identities: [] })).length, 10)
    delete process.env.VMAPIPE_IDENTITY_FILE
  })
})

const CHUNKS = 40
const content = randomBytes(CHUNKS * 65536 - 1000)
const sealed = await encrypt(content)
const start = sealed.indexOf('\n', sealed.indexOf('\n--- ') + 1) + 1 + PAYLOAD_NONCE

describe('an encrypted archive that was tampered with', { timeout: 300_000 }, () => {
  const CHUNKS = 40
  const chunk = (index: number) => sealed.subarray(start + index * SEALED, start + (index + 1) * SEALED)
  const flipped = (at: number) => {
    const changed = Buffer.from(sealed)
    changed[at] ^= 1
    return changed
  }

  const cases: [string, () => Buffer, string, (() => number) | null][] = [
    ['a bit of a chunk', () => flipped(start + 20 * SEALED + 77), 'DAMAGED', () => start + 20 * SEALED],
    ['a bit of a tag', () => flipped(start + 5 * SEALED - 1), 'DAMAGED', () => start + 4 * SEALED],
    ['a bit of the last chunk', () => flipped(sealed.length - 1), 'DAMAGED', () => start + (CHUNKS - 1) * SEALED],
    ['a bit of the nonce', () => flipped(start - 1), 'DAMAGED', () => start],
    ['a bit of the MAC', () => flipped(start - PAYLOAD_NONCE - 5), 'DAMAGED', null],
    ['cut behind a chunk', () => sealed.subarray(0, start + 9 * SEALED), 'INCOMPLETE', () => start + 9 * SEALED],
    ['cut behind a slot', () => sealed.subarray(0, start + 16 * SEALED), 'INCOMPLETE', () => start + 16 * SEALED],
    ['cut within a chunk', () => sealed.subarray(0, start + 9 * SEALED + 5000), 'DAMAGED', () => start + 9 * SEALED],
    [
      'cut within a tag',
      () => sealed.subarray(0, start + 9 * SEALED + 16),
      'INCOMPLETE',
      () => start + 9 * SEALED + 16,
    ],
    ['cut behind the nonce', () => sealed.subarray(0, start), 'INCOMPLETE', () => start],
    ['cut within the nonce', () => sealed.subarray(0, start - 3), 'INCOMPLETE', null],
    ['cut within the header', () => sealed.subarray(0, 60), 'INCOMPLETE', null],
    ['bytes behind the end', () => Buffer.concat([sealed, randomBytes(100)]), 'DAMAGED', null],
    [
      'two chunks exchanged',
      () => Buffer.concat([sealed.subarray(0, start), chunk(1), chunk(0), sealed.subarray(start + 2 * SEALED)]),
      'DAMAGED',
      () => start,
    ],
    [
      'a chunk left out',
      () => Buffer.concat([sealed.subarray(0, start + 3 * SEALED), sealed.subarray(start + 4 * SEALED)]),
      'DAMAGED',
      () => start + 3 * SEALED,
    ],
    [
      'a chunk twice',
      () => Buffer.concat([sealed.subarray(0, start + SEALED), chunk(0), sealed.subarray(start + SEALED)]),
      'DAMAGED',
      () => start + SEALED,
    ],
  ]

  for (const [what, make, code, place] of cases) {
    test(`${what}: ${code}, and nothing of the chunk goes on`, async () => {
      const changed = make()
      const passed: Chunk[] = []
      const outcome = bytesThrough('bytes', pieces(changed), [decryptor({ identities: [keyFile] })]).then((chunks) => {
        passed.push(...chunks)
      })
      await assert.rejects(outcome, (error: VmapipeError) => {
        assert.equal(error.code, code, error.line)
        if (place !== null) assert.equal(error.where.offset, place(), error.line)
        return true
      })
    })
  }

  test('with findings it goes on with the next chunk, and leaves the broken one out', async () => {
    const findings = new Findings()
    const changed = flipped(start + 20 * SEALED + 77)
    changed[start + 21 * SEALED + 3] ^= 4
    const rest = await decrypt(changed, { findings })
    assert.equal(findings.damageCount, 2)
    assert.ok(rest.equals(Buffer.concat([content.subarray(0, 20 * 65536), content.subarray(22 * 65536)])))
  })
})
