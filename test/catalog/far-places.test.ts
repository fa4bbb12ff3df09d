/** Places on another host and in a bucket: the same is listed, noted and removed as in a folder. */

import assert from 'node:assert/strict'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { readAnnotations, recordCheck, setNotes, setProtected } from '../../src/catalog/annotations.ts'
import { readCatalog } from '../../src/catalog/catalog.ts'
import { forget } from '../../src/catalog/forget.ts'
import { prune } from '../../src/catalog/prune.ts'
import { verifySample } from '../../src/catalog/sample.ts'
import { S3Client } from '../../src/storage/archive/s3/client.ts'
import { listObjects } from '../../src/storage/archive/s3/objects.ts'
import { SSH_HOST, startSshd } from '../support/sshd.ts'
import { SWIFT, startSwift } from '../support/swift.ts'
import { needs } from '../support/tools.ts'
import { makePlace, SmallGuest } from './places.ts'

type Hooks = { after(hook: () => void): void }

const hooks: (() => void)[] = []
after(() => {
  for (const hook of hooks.reverse()) hook()
})
const suite: Hooks = { after: (hook) => void hooks.push(hook) }

/** What every place does. `folder`: the place with its slash, in which a folder for the guest may be made by its archives. */
async function assertPlace(t: Hooks, folder: string, isSlow = false): Promise<void> {
  const guest = new SmallGuest(makePlace(t).disks, 'web')
  const at = (name: string) => `${folder}web/${name}`
  const spec = { now: Date.parse('2026-11-29T00:00:00Z') }
  for (const [number, name] of ['a.vma.zst', 'b.vma.zst', 'c.vmi.zst'].entries()) {
    guest.write(number)
    // The last is incremental, since the newest there.
    await guest.backup(at(name), { since: number === 2 ? 'auto' : undefined, ctime: 1_790_000_000 + number * 86_400 })
  }
  const listed = async () => (await readCatalog(folder)).map(({ name, guest, kind }) => `${guest} ${kind} ${name}`)
  assert.deepEqual(await listed(), ['web full a.vma.zst', 'web full b.vma.zst', 'web incremental c.vmi.zst'])
  await setProtected(at('a.vma.zst'), true)
  await setNotes(at('a.vma.zst'), 'of value')
  const check = { kind: 'verify' as const, at: '2026-11-28T00:00:00Z', passed: true }
  await recordCheck(at('a.vma.zst'), check)
  // Each look over ssh is a session of its own, and the catalog has looked at the same files.
  if (!isSlow)
    assert.deepEqual(await readAnnotations(at('a.vma.zst')), { protected: true, notes: 'of value', checks: [check] })
  const [{ notes, protected: mark, checks, place }] = await readCatalog(folder)
  assert.deepEqual(
    { notes, mark, checks, place },
    { notes: 'of value', mark: true, checks: [check], place: at('a.vma.zst') },
  )
  assert.deepEqual((await prune(folder, { last: 1 }, spec)).removed, [])
  await setProtected(at('a.vma.zst'), false)
  const { removed } = await prune(folder, { last: 1 }, spec)
  assert.deepEqual(
    removed.map(({ name }) => name),
    ['a.vma.zst'],
  )
  await assert.rejects(forget(at('b.vma.zst')), /is needed by c.vmi.zst/)
  if (!isSlow)
    assert.equal(
      (await verifySample(folder, { share: 1 })).checked.every(({ check }) => check.passed),
      true,
    )
  await forget(at('b.vma.zst'), { withChildren: true })
  assert.deepEqual(await listed(), [])
}

test('a folder on another host', { timeout: 600_000, ...needs('sshd') }, async (t) => {
  const { home } = await startSshd(suite, { oneConnection: true })
  mkdirSync(join(home, 'place with spaces/web'), { recursive: true })
  await assertPlace(t, `ssh://${SSH_HOST}${home}/place with spaces/`, true)
})

test('a prefix of a bucket', { timeout: 600_000, ...needs(...SWIFT) }, async (t) => {
  const { env } = await startSwift(suite, {})
  Object.assign(process.env, env)
  const client = await S3Client.open('bucket')
  await client.ask({ method: 'PUT' }).finally(() => client.close())
  await assertPlace(t, 's3://bucket/vms/')
  const left = []
  const again = await S3Client.open('bucket')
  for await (const { key } of listObjects(again, '')) left.push(key)
  again.close()
  assert.deepEqual(left, [], 'what was beside the archives is gone too')
})
