/** Archives in volumes that were copied to another host or into a bucket. */

import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { copyFileSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { readCatalog } from '../../../../src/catalog/catalog.ts'
import { Budget } from '../../../../src/core/budget.ts'
import { Counters } from '../../../../src/core/counters.ts'
import { definePipeline } from '../../../../src/core/pipeline.ts'
import type { BoundStage } from '../../../../src/core/stage.ts'
import { backup } from '../../../../src/operations/backup.ts'
import { cat } from '../../../../src/operations/cat.ts'
import { copy } from '../../../../src/operations/copy.ts'
import { readManifest } from '../../../../src/operations/manifest.ts'
import { openArchive } from '../../../../src/operations/open-archive.ts'
import { repack } from '../../../../src/operations/repack.ts'
import { restore } from '../../../../src/operations/restore.ts'
import { verify } from '../../../../src/operations/verify.ts'
import { verifyChain } from '../../../../src/operations/verify-chain.ts'
import { joiner } from '../../../../src/stages/joiner.ts'
import { sink } from '../../../../src/stages/sink.ts'
import { source } from '../../../../src/stages/source.ts'
import { splitter } from '../../../../src/stages/splitter.ts'
import { openPlace } from '../../../../src/storage/archive/open-place.ts'
import { S3Client } from '../../../../src/storage/archive/s3/client.ts'
import { vmapipe } from '../../../cli/cli.ts'
import { SSH_HOST, type Sshd, startSshd } from '../../../support/sshd.ts'
import { SWIFT, startSwift } from '../../../support/swift.ts'
import { tmpDir } from '../../../support/tmp.ts'
import { needs } from '../../../support/tools.ts'

const limited = { timeout: 240_000 }
const SIZE = 600_000
const hooks: (() => void)[] = []
const suite = { after: (hook: () => void) => void hooks.push(hook) }
after(() => {
  for (const hook of hooks.reverse()) hook()
})

const run = (...stages: BoundStage[]) => definePipeline(stages as never).run()

/** A full archive and one that was made since, each in one file and in volumes of this host. */
async function made() {
  const dir = tmpDir(suite)
  const disk = join(dir, 'disk.raw')
  const old = randomBytes(1_500_000)
  writeFileSync(disk, old)
  const drives = { 'drive-scsi0': disk }
  await backup({ drives, to: join(dir, 'full.vma'), guest: 'web' })
  const now = Buffer.from(old)
  randomBytes(700_000).copy(now, 400_000)
  writeFileSync(disk, now)
  await backup({ drives, to: join(dir, 'next.vmi'), guest: 'web', since: join(dir, 'full.vma') })
  const volumes = join(dir, 'volumes')
  mkdirSync(volumes)
  for (const name of ['full.vma', 'next.vmi']) {
    await run(source({ from: join(dir, name) }), splitter({ to: join(volumes, name), size: SIZE }))
  }
  return { dir, old, now, volumes }
}

async function put(place: string, bytes: Uint8Array): Promise<void> {
  const target = openPlace(place).target({ force: true })
  await target.open()
  await target.write([bytes])
  await target.finish()
}

describe('an archive in volumes elsewhere', needs('sshd', ...SWIFT), () => {
  let sshd: Sshd
  let sample: Awaited<ReturnType<typeof made>>
  let number = 0

  before(async () => {
    sshd = await startSshd(suite, { oneConnection: true })
    const { env } = await startSwift(suite)
    Object.assign(process.env, env)
    const client = await S3Client.open('bucket')
    await client.ask({ method: 'PUT' }).finally(() => client.close())
    sample = await made()
  })

  /** The volumes at a place of their own, with names that need care in a URL; returns the place of a file there. */
  const kinds: Record<string, () => Promise<(name: string) => string>> = {
    'on another host': async () => {
      const folder = join(sshd.home, `vms ${++number}%`)
      mkdirSync(folder)
      for (const name of readdirSync(sample.volumes)) copyFileSync(join(sample.volumes, name), join(folder, name))
      return (name) => `ssh://${SSH_HOST}${dirname(folder)}/vms%20${basename(folder).slice(4, -1)}%25/${name}`
    },
    'in a bucket': async () => {
      const at = (name: string) => `s3://bucket/vms ${folder}%/${name}`
      const folder = ++number
      for (const name of readdirSync(sample.volumes)) await put(at(name), readFileSync(join(sample.volumes, name)))
      return at
    },
  }

  for (const [kind, brought] of Object.entries(kinds)) {
    test(`every reader reads it ${kind}, and its chain`, limited, async (t) => {
      const { old, now, dir } = sample
      const out = tmpDir(t)
      const at = await brought()
      const [full, next] = [at('full.vma.000'), at('next.vmi.000')]

      const { code, stderr } = await vmapipe(['restore', full, join(out, 'by-command')])
      assert.equal(code, 0, stderr)
      assert.ok(readFileSync(join(out, 'by-command/disk-drive-scsi0.raw')).equals(old))
      await restore({ from: next, into: join(out, 'chain') })
      assert.ok(readFileSync(join(out, 'chain/disk-drive-scsi0.raw')).equals(now))
      await verify({ from: full })
      await verifyChain({ from: next })
      assert.equal((await readManifest({ from: full })).drives[0].name, 'drive-scsi0')

      // A range is over the border of two volumes, and most of the archive is not fetched for it.
      const part = { from: full, drive: 'drive-scsi0', offset: 590_000, length: 20_000, to: join(out, 'part') }
      const counters = new Counters()
      await cat({ ...part, counters } as never)
      assert.ok(readFileSync(part.to).equals(old.subarray(590_000, 610_000)))
      const archive = await openArchive(next)
      const buffer = Buffer.alloc(1000)
      for (const offset of [0, 1_499_000, 400_500, 600_000, 1_099_500]) {
        await archive.drive('drive-scsi0').read(buffer, offset)
        assert.ok(buffer.equals(now.subarray(offset, offset + 1000)), String(offset))
      }
      await archive.close()

      const listed = await readCatalog(at(''))
      const names = listed.map(({ name, kind, unreadable }) => `${name} ${kind} ${unreadable ?? ''}`)
      assert.deepEqual(names, ['full.vma.000 full ', 'next.vmi.000 incremental '])

      await copy({ from: full, to: join(out, 'joined.vma') })
      await run(joiner({ from: full }), sink({ to: join(out, 'again.vma') }))
      for (const name of ['joined.vma', 'again.vma'])
        assert.ok(readFileSync(join(out, name)).equals(readFileSync(join(dir, 'full.vma'))))
      await repack({ from: next, to: join(out, 'whole.vma.zst') })
      await restore({ from: join(out, 'whole.vma.zst'), into: join(out, 'repacked') })
      assert.ok(readFileSync(join(out, 'repacked/disk-drive-scsi0.raw')).equals(now))
    })

    test(
      `a volume that is missing, short, swapped, foreign or longer ${kind} is named, with exit code 3`,
      limited,
      async () => {
        const at = await brought()
        const first = at('full.vma.000')
        const [one, two] = ['full.vma.001', 'full.vma.002'].map((name) => readFileSync(join(sample.volumes, name)))
        const damages: [() => Promise<void> | undefined, RegExp][] = [
          [() => openPlace(at('full.vma.001')).remove?.(), /volume '.*full\.vma\.001' is missing/],
          [() => put(at('full.vma.001'), one.subarray(1)), /full\.vma\.001' is short: it has 599999 bytes of 600000/],
          [() => put(at('full.vma.001'), Buffer.concat([one, two])), /full\.vma\.001' is not the one that was written/],
          [() => put(at('full.vma.001'), randomBytes(SIZE)), /full\.vma\.001' is not the one that was written/],
          [
            () => put(at('full.vma.001'), readFileSync(join(sample.volumes, 'full.vma.000'))),
            /full\.vma\.001' is not the one that was written/,
          ],
          [() => openPlace(first).remove?.(), /volume '.*full\.vma\.000' is missing/],
        ]
        for (const [damage, message] of damages) {
          await damage()
          await assert.rejects(verify({ from: first }), { exitCode: 3, message })
          await put(at('full.vma.001'), one)
        }
        await put(first, readFileSync(join(sample.volumes, 'full.vma.000')))
        await verify({ from: first })
      },
    )

    test(
      `a later volume ${kind}, and a list that is damaged or says too much, are errors that say so`,
      limited,
      async () => {
        const at = await brought()
        await assert.rejects(verify({ from: at('full.vma.001') }), {
          code: 'USAGE',
          message: /full\.vma\.001' is one of several volumes/,
          hint: `name the first, '${at('full.vma.000')}'`,
        })
        await assert.rejects(openArchive(at('full.vma.002')), { code: 'USAGE' })
        const list = readFileSync(join(sample.volumes, 'full.vma.volumes'))
        const hostile = [
          list.subarray(0, 40),
          Buffer.alloc(5 << 20, '1 00000000\n'),
          randomBytes(100_000),
          Buffer.alloc(0),
        ]
        for (const text of hostile) {
          await put(at('full.vma.volumes'), text)
          await assert.rejects(verify({ from: at('full.vma.000') }), {
            code: 'DAMAGED',
            message: /full\.vma\.volumes' is not a whole list of volumes/,
          })
        }
        const [entry] = await readCatalog(at(''))
        assert.match(entry.unreadable!, /not a whole list/)
        // It counts again as soon as the list is right.
        await put(at('full.vma.volumes'), list)
        assert.equal((await readCatalog(at('')))[0].unreadable, undefined)
      },
    )

    test(`volumes without a list ${kind}: one file for every reader but the joiner`, limited, async (t) => {
      const out = tmpDir(t)
      const at = await brought()
      const whole = readFileSync(join(sample.dir, 'full.vma'))
      await put(at('night.000'), whole)
      await verify({ from: at('night.000') })
      await openPlace(at('full.vma.volumes')).remove!()
      await assert.rejects(verify({ from: at('full.vma.000') }), { exitCode: 3 })
      await run(joiner({ from: at('full.vma.000') }), sink({ to: join(out, 'joined') }))
      assert.ok(readFileSync(join(out, 'joined')).equals(whole))
      await openPlace(at('full.vma.001')).remove!()
      await assert.rejects(run(joiner({ from: at('night.000') }), sink({ to: join(out, 'x') })), { code: 'USAGE' })
      await put(at('full.vma.001'), whole.subarray(0, 1000))
      await assert.rejects(run(joiner({ from: at('full.vma.000') }), sink({ to: join(out, 'x') })), {
        code: 'DAMAGED',
        message: /full\.vma\.001' has 1000 bytes, the first has 600000/,
      })
    })
  }

  test('no more sessions are left than there were', { timeout: 60_000 }, () => {
    const children = execFileSync('ps', ['-o', 'comm=', '--ppid', String(process.pid)], { encoding: 'utf8' })
    // The connection that all sessions share.
    assert.equal(children.match(/^ssh$/gm)?.length, 1, children)
  })

  test('a connection that breaks while the volumes are read in order is begun again', limited, async (t) => {
    const { home, cut } = await startSshd(t)
    for (const name of readdirSync(sample.volumes)) copyFileSync(join(sample.volumes, name), join(home, name))
    const place = openPlace(`ssh://${SSH_HOST}${home}/full.vma.000`)
    const whole = readFileSync(join(sample.dir, 'full.vma'))
    const warnings: string[] = []
    // Pieces are small, so that the reading is in the middle when the connection breaks.
    const reading = place.source({ budget: new Budget(1 << 20), warn: (line) => warnings.push(line) })
    t.after(() => reading.close())
    await reading.open()
    assert.equal(reading.size, whole.length)
    const pieces: Buffer[] = []
    for (let chunk = await reading.read(); chunk !== null; chunk = await reading.read()) {
      pieces.push(...chunk.buffers.map((buffer) => Buffer.from(buffer)))
      chunk.release()
      if (pieces.length === 4) cut()
    }
    assert.ok(Buffer.concat(pieces).equals(whole))
    assert.match(warnings.join(), /broke and is begun again/)
  })
})
