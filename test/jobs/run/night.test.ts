import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { restore } from '../../../src/operations/restore.ts'
import { entries, nightly } from './nightly.ts'

describe('a night', () => {
  test('every guest gets a full archive, then incremental ones, and each restores to what the guest had', {
    timeout: 120_000,
  }, async (t) => {
    const night = nightly(t, ['web', 'db'])
    const job = night.job(
      `guests:\n${entries(night, ['web', 'db'])}to: ${night.dir}/place\nfull: weekly\ncheck: { verify: after }\n`,
    )
    const first = await night.run(job).run()
    assert.deepEqual(
      [first.outcome, first.guests.map(({ outcome, kind, verified }) => [outcome, kind, verified])],
      [
        'all',
        [
          ['done', 'full', true],
          ['done', 'full', true],
        ],
      ],
    )
    const image = readFileSync(night.disk('web'))
    image.write('changed', 70_000)
    writeFileSync(night.disk('web'), image)
    const second = await night.run(job).run()
    assert.deepEqual(
      second.guests.map(({ kind }) => kind),
      ['incremental', 'incremental'],
    )
    const { places } = second.guests.find(({ guest }) => guest === 'web')!
    assert.match(places[0], /place\/web\/web-.*\.vmi\.zst$/)
    await restore({ from: places[0], into: join(night.dir, 'back') })
    assert.deepEqual(readFileSync(join(night.dir, 'back', 'disk-drive-scsi0.raw')), image)
  })

  test('old archives are verified in turn, and a damaged one is told', { timeout: 120_000 }, async (t) => {
    const night = nightly(t, ['web'])
    const job = night.job(`guests:\n${entries(night, ['web'])}to: ${night.dir}/place\ncheck: { sample: 100% }\n`)
    const first = await night.run(job).run()
    assert.equal(first.outcome, 'all')
    const [old] = first.guests[0].places
    const bytes = readFileSync(old)
    bytes[100_000] ^= 1
    writeFileSync(old, bytes)
    const second = await night.run(job).run()
    assert.equal(second.outcome, 'some')
    assert.ok(second.problem!.includes(`'${old}' is damaged: `), second.problem)
  })
})
