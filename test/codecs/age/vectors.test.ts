/** The vectors of age's community (CCTV): what every reader of the format must accept and refuse. */

import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import { inflateSync } from 'node:zlib'
import * as vectors from 'cctv-age'
import { VmapipeError } from '../../../src/core/errors.ts'
import { Chunk } from '../../../src/core/items.ts'
import { decryptor } from '../../../src/stages/decryptor.ts'
import { bytesThrough } from '../../support/flow.ts'

const dir = mkdtempSync(join(tmpdir(), 'vmapipe-test-'))
after(() => rmSync(dir, { recursive: true, force: true }))

interface Vector {
  expect: string
  payload?: string
  identities: string[]
  passphrases: string[]
  isArmored: boolean
  file: Buffer
}

/** Lines of "name: value", an empty line, and the encrypted file. */
function parse(bytes: Uint8Array): Vector {
  const text = Buffer.from(bytes)
  const end = text.indexOf('\n\n')
  const lines = text.toString('utf8', 0, end).split('\n')
  const all = (name: string) =>
    lines.filter((line) => line.startsWith(`${name}: `)).map((line) => line.slice(name.length + 2))
  const file = text.subarray(end + 2)
  return {
    expect: all('expect')[0],
    payload: all('payload')[0],
    identities: all('identity'),
    passphrases: all('passphrase'),
    isArmored: all('armored').length > 0,
    file: all('compressed')[0] === 'zlib' ? inflateSync(file) : file,
  }
}

describe('the vectors of age', { timeout: 300_000 }, () => {
  for (const [name, bytes] of Object.entries(vectors as unknown as Record<string, Uint8Array>)) {
    const vector = parse(bytes)
    test(`${name}: ${vector.isArmored ? 'armor is refused' : vector.expect}`, async () => {
      const keys = join(dir, 'keys')
      writeFileSync(keys, `${vector.identities.join('\n')}\n`)
      writeFileSync(join(dir, 'passphrase'), vector.passphrases[0] ?? '')
      const fd = vector.passphrases.length > 0 ? openSync(join(dir, 'passphrase'), 'r') : undefined
      const stage = decryptor({ identities: vector.identities.length > 0 ? [keys] : [], 'passphrase-fd': fd })
      const outcome = bytesThrough('bytes', [new Chunk([vector.file])], [stage]).finally(
        () => fd !== undefined && closeSync(fd),
      )
      // Behind our decryptor what is no age file, such as an empty one, is refused by whoever reads the archive.
      const isOther = !vector.file.subarray(0, 22).equals(Buffer.from('age-encryption.org/v1\n'))
      if (vector.expect === 'success' && !vector.isArmored) {
        const content = Buffer.concat((await outcome).flatMap(({ buffers }) => buffers))
        assert.equal(createHash('sha256').update(content).digest('hex'), vector.payload)
      } else if (isOther && !vector.file.toString('latin1').startsWith('-----BEGIN AGE ENCRYPTED FILE-----')) {
        const passed = Buffer.concat((await outcome).flatMap(({ buffers }) => buffers))
        assert.ok(passed.equals(vector.file))
      } else {
        await assert.rejects(outcome, (error: VmapipeError) => {
          assert.ok(
            error instanceof VmapipeError && ['USAGE', 'DAMAGED', 'INCOMPLETE'].includes(error.code),
            String(error),
          )
          return true
        })
      }
    })
  }
})
