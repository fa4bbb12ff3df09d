/**
 * Chains against a model: a guest writes, zeroes and resizes at random, full and incremental backups follow at random, archives are
 * renamed and removed at random. Each archive gives the exact images of its time, or says that a parent is missing.
 */

import assert from 'node:assert/strict'
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { VmapipeError } from '../../src/core/errors.ts'
import { CLUSTER_SIZE } from '../../src/core/geometry.ts'
import { backup } from '../../src/operations/backup.ts'
import { readManifest } from '../../src/operations/manifest.ts'
import { restore } from '../../src/operations/restore.ts'
import { seed, seeded } from '../support/random.ts'
import { tmpDir } from '../support/tmp.ts'

const STEPS = 20
const MOST = 40 * CLUSTER_SIZE

interface Made {
  path: string
  uuid: string
  parent: string | null
  images: Record<string, Buffer>
}

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex')

test(`each archive of each chain gives the images of its time (seed ${seed})`, { timeout: 120_000 }, async (t) => {
  const random = seeded(seed)
  const upTo = (limit: number) => Math.floor(random() * limit)
  const pick = <T>(list: readonly T[]): T => list[upTo(list.length)]
  const dir = tmpDir(t)
  const [disks, folder] = [join(dir, 'disks'), join(dir, 'archives')]
  mkdirSync(disks)
  mkdirSync(folder)
  const images: Record<string, Buffer> = {
    a: Buffer.alloc(20 * CLUSTER_SIZE + 1537, 1),
    b: Buffer.alloc(9 * CLUSTER_SIZE),
  }
  const made: Made[] = []
  let [names, ctime, incremental, broken] = [0, 1_700_000_000, 0, 0]

  const change = () => {
    const name = pick(Object.keys(images))
    const image = images[name]
    const at = upTo(image.length)
    const end = (most: number) => Math.min(image.length, at + 1 + upTo(most))
    const what = random()
    if (what < 0.5) image.fill(upTo(255) + 1, at, end(3 * CLUSTER_SIZE))
    else if (what < 0.8) image.fill(0, at, end(5 * CLUSTER_SIZE))
    else if (what < 0.95) {
      const size = 1 + upTo(MOST)
      images[name] = Buffer.concat([image.subarray(0, size), Buffer.alloc(Math.max(0, size - image.length))])
    } else if ('b' in images) delete images.b
    else images.b = Buffer.alloc(1 + upTo(MOST), upTo(2))
  }

  const drivesNow = () => {
    const drives: Record<string, string> = {}
    for (const [name, image] of Object.entries(images)) {
      drives[name] = join(disks, `${name}.raw`)
      writeFileSync(drives[name], image)
      truncateSync(drives[name], image.length)
    }
    return drives
  }

  const isWhole = ({ parent }: Made): boolean => {
    if (parent === null) return true
    const before = made.find(({ uuid }) => uuid === parent)
    return before !== undefined && isWhole(before)
  }

  const back = async () => {
    const drives = drivesNow()
    const suffix = pick(['', '.zst', '.lz4', '.gz'])
    const path = (kind: string) => join(folder, `${names++}.vm${kind}${suffix}`)
    const common = { drives, guest: 'vm1', ctime: ctime++ }
    const how = random()
    let result: Awaited<ReturnType<typeof backup>>
    if (how < 0.15 || made.length === 0) result = await backup({ ...common, to: path('a') })
    else if (how < 0.6) {
      result = await backup({ ...common, to: path('i'), since: 'auto' })
      const newest = made.at(-1)!
      assert.equal(result.manifest.isIncremental, isWhole(newest), 'auto is incremental if it can be')
      if (!isWhole(newest)) assert.match(result.manifest.record?.full ?? '', /cannot be the parent/)
    } else {
      const since = pick(made)
      const backed = backup({ ...common, to: path('i'), since: since.path })
      if (!isWhole(since)) {
        await assert.rejects(backed, (error) => error instanceof VmapipeError && error.exitCode === 3)
        return
      }
      result = await backed
    }
    const { uuid, record } = result.manifest
    const parent = record?.parent ? hex(record.parent.uuid) : null
    if (parent !== null) incremental++
    const copies = Object.entries(images).map(([name, image]) => [name, Buffer.from(image)])
    made.push({ path: result.places[0], uuid: hex(uuid), parent, images: Object.fromEntries(copies) })
  }

  const disturb = () => {
    if (made.length < 3) return
    if (random() < 0.5) {
      const [one] = made.splice(upTo(made.length), 1)
      rmSync(one.path)
      return
    }
    // Two archives change names: a parent is found by its uuid.
    const [one, two] = [pick(made), pick(made)]
    if (one === two) return
    const aside = join(folder, 'aside')
    renameSync(one.path, aside)
    renameSync(two.path, one.path)
    renameSync(aside, two.path)
    ;[one.path, two.path] = [two.path, one.path]
  }

  const check = async (archive: Made) => {
    const into = join(dir, 'restored')
    if (!isWhole(archive)) {
      broken++
      await assert.rejects(restore({ from: archive.path, into }), (error) => {
        return error instanceof VmapipeError && error.exitCode === 3 && /parent/.test(error.line)
      })
      assert.ok(!existsSync(into), 'nothing was written')
      return
    }
    await restore({ from: archive.path, into })
    const expected = Object.keys(archive.images).map((name) => `disk-${name}.raw`)
    assert.deepEqual(readdirSync(into).sort(), expected.sort())
    for (const [name, image] of Object.entries(archive.images))
      assert.ok(readFileSync(join(into, `disk-${name}.raw`)).equals(image), `${archive.path}: drive ${name}`)
    rmSync(into, { recursive: true })
  }

  for (let step = 0; step < STEPS; step++) {
    for (let changes = upTo(5); changes > 0; changes--) change()
    await back()
    if (random() < 0.2) disturb()
    if (random() < 0.2) await check(pick(made))
    assert.equal(hex((await readManifest({ from: made.at(-1)!.path })).uuid), made.at(-1)!.uuid)
  }
  for (const archive of made) await check(archive)
  assert.ok(incremental > STEPS / 4, `${incremental} incremental archives`)
  t.diagnostic(`${made.length} archives, ${incremental} incremental, ${broken} checks of chains that lack a parent`)
})
