/** A job whose guests are backed up by a pipeline of its owner's. */

import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { readCatalog } from '../../../src/catalog/catalog.ts'
import { restore } from '../../../src/operations/restore.ts'
import { entries, type Nightly, nightly } from './nightly.ts'

const limits = { timeout: 120_000 }

function writePipeline(night: Nightly): void {
  writeFileSync(
    join(night.dir, 'own.yaml'),
    `name: own
params:
  GUEST: { description: the guest }
  SOURCE: { description: its image }
  TARGET: { description: the archive }
  ABOUT: { description: what says which guest it is }
stages:
  - cluster-source: { drives: { disk: '\${SOURCE}' }, configs: { guest.json: '\${ABOUT}-\${GUEST}' } }
  - zero-elider
  - vma-framer
  - compressor: { method: zstd }
  - sink: { to: '\${TARGET}' }
`,
  )
  for (const guest of ['web', 'db']) {
    const about = { version: 1, from: 'qemu', name: guest, disks: [] }
    writeFileSync(join(night.dir, `about-${guest}`), JSON.stringify(about))
  }
}

describe('a pipeline in a job', () => {
  for (const where of ['of one guest', 'of all guests'] as const) {
    test(`${where} makes the archive, a full one each time`, limits, async (t) => {
      const night = nightly(t, ['web', 'db'])
      writePipeline(night)
      const own = `pipeline: own.yaml\nset: { ABOUT: "${night.dir}/about" }\n`
      const inEntry = own.replace(/^/gm, '    ').trimEnd()
      const guests =
        where === 'of one guest'
          ? `${entries(night, ['web'], `${inEntry}\n`)}${entries(night, ['db'])}`
          : entries(night, ['web', 'db'])
      const job = night.job(
        `guests:\n${guests}${where === 'of all guests' ? own : ''}to: ${night.dir}/place\nfull: weekly\ncheck: { verify: after }\nretry: { count: 0 }\n`,
      )
      for (let turn = 0; turn < 2; turn++) {
        const report = await night.run(job).run()
        assert.equal(report.outcome, 'all', JSON.stringify(report, null, 2))
        const web = report.guests.find(({ guest }) => guest === 'web')!
        assert.deepEqual([web.kind, web.verified, web.warnings], ['full', true, []])
        assert.match(web.places[0], /\/place\/web\/web-[^/]*\.vma\.zst$/)
        const db = report.guests.find(({ guest }) => guest === 'db')!
        assert.equal(db.kind, where === 'of one guest' && turn === 1 ? 'incremental' : 'full')
        const into = join(night.dir, `back${turn}`)
        await restore({ from: web.places[0], into })
        assert.deepEqual(readFileSync(join(into, 'disk-disk.raw')), readFileSync(night.disk('web')))
      }
      const archives = await readCatalog(join(night.dir, 'place/web'))
      assert.deepEqual(
        archives.map(({ guest, kind }) => `${guest} ${kind}`),
        ['web full', 'web full'],
      )
    })
  }

  test(
    'makes archives of the guest of the job: they are found again when it was due, and removed',
    limits,
    async (t) => {
      const night = nightly(t, ['web'])
      writePipeline(night)
      const own = `pipeline: own.yaml\nset: { ABOUT: "${night.dir}/about" }\n`
      const job = night.job(
        `guests:\n${entries(night, ['web'])}${own}to: { place: ${night.dir}/place, keep: { last: 1 } }\nretry: { count: 0 }\n`,
      )
      const due = Math.floor(Date.now() / 1000) * 1000 - 60_000
      const run = async (time: number) => (await night.run(job, { due: time }).run()).guests[0]
      const first = await run(due)
      assert.deepEqual([first.outcome, first.already], ['done', undefined], JSON.stringify(first))
      const again = await run(due)
      assert.deepEqual([again.outcome, again.already], ['done', true], JSON.stringify(again))
      const next = await run(due + 1000)
      assert.deepEqual([next.outcome, next.kind], ['done', 'full'], JSON.stringify(next))
      const archives = await readCatalog(join(night.dir, 'place/web'))
      assert.deepEqual(
        archives.map(({ place, guest }) => [place, guest]),
        [[next.places[0], 'web']],
      )
    },
  )

  test('that makes no archive fails with what is missing', limits, async (t) => {
    const night = nightly(t, ['web'])
    writeFileSync(
      join(night.dir, 'own.yaml'),
      `params: { SOURCE: {}, TARGET: {} }\nstages:\n  - source: { from: '\${SOURCE}' }\n  - sink: { to: '\${TARGET}' }\n`,
    )
    const job = night.job(`guests:\n${entries(night, ['web'])}pipeline: own.yaml\nto: ${night.dir}/place\n`)
    const { outcome, guests } = await night.run(job).run()
    assert.deepEqual([outcome, guests[0].code, guests[0].attempts], ['none', 'CONFIG', 1])
    assert.match(guests[0].reason!, /own\.yaml: this pipeline makes no archive of drives/)
  })
})
