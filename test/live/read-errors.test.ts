/** A disk below that cannot read: nbdkit gives EIO for as long as a file is there. */

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { verify } from '../../src/operations/verify.ts'
import { NbdClient } from '../../src/protocol/nbd/client.ts'
import { nbdkit } from '../support/nbd-server.ts'
import { tmpDir } from '../support/tmp.ts'
import { needs } from '../support/tools.ts'
import { MiB, makeDisk } from './images.ts'
import { serve } from './serving.ts'

const options = { ...needs('nbdkit'), timeout: 60_000 }

async function servedFromBadDisk(t: TestContext) {
  const dir = tmpDir(t)
  const [disk, trouble] = ['disk', 'trouble'].map((name) => join(dir, name))
  makeDisk(disk, 32 * MiB)
  const error = ['error-pread=EIO', 'error-pread-rate=100%', `error-file=${trouble}`]
  const below = await nbdkit(t, join(dir, 'below'), ['--filter=error', 'file', disk, ...error])
  const serving = await serve(t, { a: below })
  const guest = await NbdClient.connect({ socketPath: serving.socket, exportName: 'a' })
  t.after(() => guest.close())
  return { serving, guest, begin: () => writeFileSync(trouble, ''), end: () => rmSync(trouble) }
}

const EIO = /READ of \d+ bytes failed: .*\(EIO\)/

test('a read of the guest that fails is an error of that read alone', options, async (t) => {
  const { serving, guest, begin, end } = await servedFromBadDisk(t)
  const response = await serving.ask('GET', '/backup?bwlimit=1MiB/s')
  response.on('error', () => {}).resume()
  // What the scan may hold in memory is read, and is then held back for seconds.
  const scanned = async () => (await serving.status()).backup!.clusters.scanned
  for (let now = 0, same = 0; same < 4; same = (await scanned()) === now && now > 0 ? same + 1 : 0) {
    now = await scanned()
    await sleep(200)
  }
  begin()
  await assert.rejects(guest.read(Buffer.alloc(4096), 31 * MiB), EIO)
  await assert.rejects(guest.read(Buffer.alloc(4096), 0), EIO)
  end()
  const back = Buffer.alloc(4096)
  await guest.read(back, 0)
  await guest.write([back], 0)
  assert.ok((await serving.status()).backup !== null, 'the backup goes on')
  assert.equal((await serving.json('DELETE', '/backup')).code, 204)
  assert.equal((await serving.ended()).error, 'aborted by request')
})

test('a read of the scan that fails is the end of the backup, and nothing to the guest', options, async (t) => {
  const { serving, guest, begin, end } = await servedFromBadDisk(t)
  const response = await serving.ask('GET', '/backup?bwlimit=8MiB/s')
  response.resume()
  const cut = once(response, 'error')
  begin()
  // Writes whose old data has to be read, and cannot be, are done all the same.
  await Promise.all(
    Array.from({ length: 20 }, (_, index) => guest.write([Buffer.alloc(512, 7)], 32 * MiB - (index + 1) * 65536)),
  )
  const { complete, error } = await serving.ended()
  assert.equal(complete, false)
  assert.match(error!, EIO)
  assert.match(error!, /byte \d+/)
  assert.equal((await cut)[0].code, 'ECONNRESET')
  end()
  const back = Buffer.alloc(512)
  await guest.read(back, 32 * MiB - 20 * 65536)
  assert.ok(back.equals(Buffer.alloc(512, 7)))
  await guest.flush()
  const again = await serving.ask('GET', '/backup')
  await verify({ from: Readable.from(await again.toArray()) })
  assert.equal(await serving.stop(), 0)
})
