/** Nights whose archives go to another host and into a bucket. */

import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { readCatalog } from '../../../src/catalog/catalog.ts'
import { definePipeline } from '../../../src/core/pipeline.ts'
import type { Job } from '../../../src/jobs/file/schema.ts'
import type { JobOptions } from '../../../src/jobs/run/job-options.ts'
import { restore } from '../../../src/operations/restore.ts'
import { source } from '../../../src/stages/source.ts'
import { splitter } from '../../../src/stages/splitter.ts'
import { openPlace } from '../../../src/storage/archive/open-place.ts'
import type { Place } from '../../../src/storage/archive/place.ts'
import { S3Client } from '../../../src/storage/archive/s3/client.ts'
import { vmapipe } from '../../cli/cli.ts'
import { freePorts } from '../../support/ports.ts'
import { SSH_HOST, type Sshd, startSshd } from '../../support/sshd.ts'
import { SWIFT, startSwift } from '../../support/swift.ts'
import { needs } from '../../support/tools.ts'
import { entries, type Nightly, nightly } from './nightly.ts'

const limits = { timeout: 600_000 }
const hooks: (() => void)[] = []
after(() => {
  for (const hook of hooks.reverse()) hook()
})
const suite = { after: (hook: () => void) => void hooks.push(hook) }

/** Changes some data of a guest, and returns its image. */
function change(night: Nightly, guest: string, what: string): Buffer {
  const image = readFileSync(night.disk(guest))
  image.write(what, 70_000)
  writeFileSync(night.disk(guest), image)
  return image
}

/** What is at a place: "full NAME", by time. */
async function namesAt(place: string): Promise<string[]> {
  const archives = await readCatalog(`${place}/`)
  return archives.map(({ kind, name, unreadable }) => `${kind} ${name}${unreadable ? ` ${unreadable}` : ''}`)
}

describe('a job with a place on another host and one in a bucket', needs('sshd', ...SWIFT), () => {
  let sshd: Sshd
  let number = 0

  before(async () => {
    sshd = await startSshd(suite, { oneConnection: true })
    const { env } = await startSwift(suite)
    Object.assign(process.env, env)
    const client = await S3Client.open('bucket')
    await client.ask({ method: 'PUT' }).finally(() => client.close())
  })

  /** Two places of their own for each test. The one in the bucket is not required. */
  function places(night: Nightly, more = '', keep = ''): { far: string; bucket: string; job: Job; file: string } {
    const name = `vms${++number}`
    mkdirSync(join(sshd.home, name))
    const [far, bucket] = [`ssh://${SSH_HOST}${sshd.home}/${name}`, `s3://bucket/${name}`]
    const to = `to:\n  - { place: "${far}"${keep} }\n  - { place: "${bucket}", required: false${keep} }\n`
    const job = night.job(`guests:\n${entries(night, ['web'])}${to}${more}retry: { count: 0 }\n`)
    return { far, bucket, job, file: join(night.dir, 'nightly.yaml') }
  }

  /** Runs it, and fails with what it says if not all went well. */
  async function run(night: Nightly, job: Job, options?: JobOptions) {
    const report = await night.run(job, options).run()
    assert.equal(report.outcome, 'all', JSON.stringify(report, null, 2))
    // Swift cannot refuse to replace an object, and each of its archives says so.
    const warnings = report.guests[0].warnings.filter((text) => !/this store cannot refuse to replace/.test(text))
    return { ...report.guests[0], warnings, removed: report.removed, problems: report.warnings ?? [] }
  }

  test('makes a full archive and then an incremental one, and each restores from both', limits, async (t) => {
    const night = nightly(t, ['web'])
    const { far, bucket, job, file } = places(night, 'full: never\ncheck: { verify: after }\n', ', keep: { last: 1 }')
    const env = { VMAPIPE_STATE: join(night.dir, 'state'), VMAPIPE_RUNTIME: join(night.dir, 'locks') }

    // Only looks: no folder is made, no archive.
    const dry = await vmapipe(['job', 'run', file, '--dry-run', '--json'], { env })
    const [planned] = JSON.parse(dry.stdout.toString()).guests
    assert.deepEqual([planned.kind, planned.to.length], ['full', 2], dry.stderr)
    assert.ok(planned.to[0].startsWith(`${far}/web/web-`) && planned.to[1].startsWith(`${bucket}/web/web-`))
    assert.deepEqual([await namesAt(far), await namesAt(bucket)], [[], []])

    const first = await run(night, job)
    assert.deepEqual([first.kind, first.verified, first.warnings, first.places.length], ['full', true, [], 2])
    const image = change(night, 'web', 'changed')
    const second = await run(night, job)
    assert.deepEqual([second.kind, second.verified, second.warnings], ['incremental', true, []])
    // The parent of what stays, stays.
    assert.deepEqual(second.removed, [])
    assert.equal((await namesAt(far)).length, 2)
    assert.deepEqual(await namesAt(far), await namesAt(bucket))
    for (const [index, from] of second.places.entries()) {
      await restore({ from, into: join(night.dir, `back${index}`) })
      assert.deepEqual(readFileSync(join(night.dir, `back${index}`, 'disk-drive-scsi0.raw')), image)
    }

    const again = await vmapipe(['job', 'run', file, '--dry-run', '--json'], { env })
    const [next] = JSON.parse(again.stdout.toString()).guests
    assert.deepEqual([next.kind, next.to.length, next.later], ['incremental', 2, []])
    assert.equal((await namesAt(far)).length, 2)

    // A new full one is all that its rule keeps: the chain before it goes, at both places.
    const third = await run(night, job, { full: true })
    assert.equal(third.kind, 'full')
    assert.deepEqual(
      third.removed.map(({ place, archives }) => [place, archives]),
      [
        [far, 2],
        [bucket, 2],
      ],
    )
    assert.equal((await namesAt(far)).length, 1)
    assert.deepEqual(await namesAt(far), await namesAt(bucket))
  })

  test('goes on while the bucket is away, and copies what it lacks when it is back', limits, async (t) => {
    const night = nightly(t, ['web'])
    const { far, bucket, job } = places(night, 'full: never\n')
    const endpoint = process.env.AWS_ENDPOINT_URL!
    const [closed] = await freePorts(1)
    process.env.AWS_ENDPOINT_URL = `http://127.0.0.1:${closed}`
    try {
      const alone = await run(night, job)
      assert.equal(alone.places.length, 1)
      assert.match(alone.problems[0], /^'s3:\/\/bucket\/.*' cannot be written, and is left out: /)
    } finally {
      process.env.AWS_ENDPOINT_URL = endpoint
    }
    change(night, 'web', 'while it is back')
    const back = await run(night, job)
    assert.deepEqual([back.kind, back.places.length, back.warnings], ['incremental', 2, []])
    assert.equal((await namesAt(bucket)).length, 2)
    assert.deepEqual(await namesAt(bucket), await namesAt(far))
    await restore({ from: back.places[1], into: join(night.dir, 'back') })
    assert.deepEqual(readFileSync(join(night.dir, 'back/disk-drive-scsi0.raw')), readFileSync(night.disk('web')))
  })

  test('does nothing if it was due and is done, and prune of the job keeps its rules', limits, async (t) => {
    const night = nightly(t, ['web'])
    const { far, bucket, job } = places(night)
    const due = Math.floor(Date.now() / 1000) * 1000 - 60_000
    const first = await run(night, job, { due })
    assert.deepEqual([first.already, first.places.length], [undefined, 2])
    const second = await run(night, job, { due })
    assert.deepEqual([second.already, second.read], [true, undefined])
    assert.deepEqual([(await namesAt(far)).length, (await namesAt(bucket)).length], [1, 1])
    await run(night, job, { due: due + 1000 })
    await run(night, job, { due: due + 2000 })

    // The job had no rules until now.
    const file = join(night.dir, 'nightly.yaml')
    writeFileSync(file, readFileSync(file, 'utf8').replace(/(place: "s3.*?")/, '$1, keep: { last: 2 }'))
    const dry = await vmapipe(['prune', file, '--dry-run'])
    assert.equal(dry.code, 0, dry.stderr)
    assert.equal((await namesAt(bucket)).length, 3)
    const pruned = await vmapipe(['prune', file])
    assert.equal(pruned.code, 0, pruned.stderr)
    assert.deepEqual(await namesAt(bucket), (await namesAt(far)).slice(1))
    assert.equal((await namesAt(far)).length, 3)
  })

  test('a cut archive on another host or in a bucket does not count as done', limits, async (t) => {
    const night = nightly(t, ['web'])
    const { far, bucket } = places(night)
    const due = Math.floor(Date.now() / 1000) * 1000 - 60_000
    for (const place of [far, bucket]) {
      const job = night.job(`guests:\n${entries(night, ['web'])}to: "${place}"\nretry: { count: 0 }\n`)
      const first = await run(night, job, { due })
      assert.equal((await run(night, job, { due })).already, true)
      await cutInHalf(first.places[0])
      const again = await run(night, job, { due })
      assert.deepEqual([again.already, again.warnings.length], [undefined, 1])
      assert.match(again.warnings[0], /was cut, so it does not count/)
      assert.equal((await run(night, job, { due })).already, true)
      assert.equal((await namesAt(place)).length, 2)
    }
  })

  test(
    'an archive in volumes on another host or in a bucket counts as done only if it has its end',
    limits,
    async (t) => {
      const night = nightly(t, ['web'])
      const { far, bucket } = places(night)
      const due = Math.floor(Date.now() / 1000) * 1000 - 86_400_000
      const made = await run(night, night.job(`guests:\n${entries(night, ['web'])}to: ${night.dir}/place\n`), { due })
      const [file] = made.places
      const name = basename(file)
      const half = join(night.dir, 'half')
      writeFileSync(half, readFileSync(file).subarray(0, statSync(file).size >> 1))
      for (const place of [far, bucket]) {
        const job = night.job(`guests:\n${entries(night, ['web'])}to: "${place}"\nretry: { count: 0 }\n`)
        const at = (volume: string) => openPlace(`${place}/web/${volume}`)
        await at('any').makeFolder?.()
        const volumes = await bringVolumes(night, file, at)
        assert.ok(volumes.includes(`${name}.002`) && !volumes.includes(`${name}.003`), `${volumes}`)
        assert.equal((await run(night, job, { due })).already, true)

        // The list is right and the end is not there; then the last volume is short; then it is missing.
        const cuts = [
          () => bringVolumes(night, half, at),
          async () => {
            await bringVolumes(night, file, at)
            await put(at(`${name}.002`), Buffer.alloc(100))
          },
          async () => {
            await bringVolumes(night, file, at)
            await at(`${name}.002`).remove!()
          },
        ]
        for (const cut of cuts) {
          for (const old of volumes) await at(old).remove!()
          await cut()
          const again = await run(night, job, { due })
          assert.deepEqual([again.already, again.warnings.length], [undefined, 1])
          assert.match(again.warnings[0], /was cut, so it does not count/)
          assert.equal((await run(night, job, { due })).already, true)
          await openPlace(again.places[0]).remove!()
        }
      }
    },
  )
})

/** Splits the file into volumes of 128 KiB, and copies them; returns their names in order, with that of their list. */
async function bringVolumes(night: Nightly, file: string, at: (volume: string) => Place): Promise<string[]> {
  const folder = mkdtempSync(join(night.dir, 'volumes-'))
  const to = join(folder, readdirSync(join(night.dir, 'place/web')).find((name) => name.endsWith('.zst'))!)
  await definePipeline([source({ from: file }), splitter({ to, size: 128 << 10 })]).run()
  const names = readdirSync(folder).sort()
  for (const volume of names) await put(at(volume), readFileSync(join(folder, volume)))
  return names
}

async function put(place: Place, bytes: Buffer): Promise<void> {
  const target = place.target({ force: true })
  await target.open()
  await target.write([bytes])
  await target.finish()
}

/** Writes the first half of an archive in its place. */
async function cutInHalf(spec: string): Promise<void> {
  const place = openPlace(spec)
  const bytes = await place.ranges!({})
  const half = Buffer.alloc(bytes.size >> 1)
  await bytes.read(half, 0)
  await bytes.close()
  await put(place, half)
}
