/** The header of an archive is read although what follows it is damaged. */

import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { generateX25519Identity, identityToRecipient } from 'age-encryption'
import { Keyring } from '../../src/codecs/age/keyring.ts'
import { backup } from '../../src/operations/backup.ts'
import { readManifest } from '../../src/operations/manifest.ts'
import { tmpDir } from '../support/tmp.ts'

test('the header of an encrypted archive is read, wherever the archive was cut or changed behind it', {
  timeout: 120_000,
}, async (t) => {
  const dir = tmpDir(t)
  const identity = await generateX25519Identity()
  writeFileSync(join(dir, 'key'), `${identity}\n`, { mode: 0o600 })
  const keys = new Keyring({ identities: [join(dir, 'key')] })
  writeFileSync(join(dir, 'disk'), randomBytes(4 << 20))
  const to = join(dir, 'a.vma.zst.age')
  const encrypt = { recipients: [await identityToRecipient(identity)] }
  await backup({ drives: { d: join(dir, 'disk') }, to, compress: 'zstd,frame=128KiB', encrypt })
  const whole = readFileSync(to)
  const drivesOf = async (bytes: Buffer) => {
    writeFileSync(to, bytes)
    return (await readManifest({ from: to, keys })).drives.map(({ name }) => name)
  }
  for (const left of [whole.length - 1, whole.length >> 1, 1 << 20, 200_000])
    assert.deepEqual(await drivesOf(whole.subarray(0, left)), ['d'], `${left} bytes`)
  for (const at of [whole.length - 1, whole.length >> 1, 1 << 20, 200_000]) {
    const changed = Buffer.from(whole)
    changed[at] ^= 1
    assert.deepEqual(await drivesOf(changed), ['d'], `changed at ${at}`)
  }
  await assert.rejects(drivesOf(whole.subarray(0, 10_000)), { code: 'DAMAGED' })
})
