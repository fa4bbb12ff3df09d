import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import { recordCheck } from '../../src/catalog/annotations.ts'
import { readCatalog } from '../../src/catalog/catalog.ts'
import { prune } from '../../src/catalog/prune.ts'
import { verifySample } from '../../src/catalog/sample.ts'
import { vmapipe } from '../cli/cli.ts'
import { makePlace, SmallGuest } from './places.ts'

suite('verifying a sample', { timeout: 120_000 }, () => {
  test('reads those first that were never verified, then the oldest results, until the share is reached', async (t) => {
    const { place, disks } = makePlace(t)
    const guest = new SmallGuest(disks, 'web')
    const at = (number: number) => join(place, `${number}.vma`)
    for (let number = 0; number < 5; number++)
      await guest.backup(at(number), { since: undefined, ctime: 1000 + number })
    await recordCheck(at(3), { kind: 'verify', at: '2026-01-02T00:00:00Z', passed: true })
    await recordCheck(at(1), { kind: 'verify', at: '2026-01-01T00:00:00Z', passed: true })
    const names = async (share: number) => (await verifySample(place, { share })).checked.map(({ entry }) => entry.name)
    assert.deepEqual((await names(0.6)).sort(), ['0.vma', '2.vma', '4.vma'])
    assert.deepEqual(await names(0.01), ['1.vma'], 'at least one')
    assert.deepEqual(await names(0.2), ['3.vma'])
    assert.equal((await names(1)).length, 5)
    await assert.rejects(verifySample(place, { share: 0 }), /is no part/)
  })

  test('notes damage beside the archive, goes on, and prune then does not count on it', async (t) => {
    const { place, disks } = makePlace(t)
    const guest = new SmallGuest(disks, 'web')
    const at = (number: number) => join(place, `${number}.vma`)
    for (let number = 0; number < 3; number++)
      await guest.backup(at(number), { since: undefined, ctime: 1000 + number })
    const bytes = readFileSync(at(2))
    bytes[bytes.length >> 1] ^= 0xff
    writeFileSync(at(2), bytes)
    const { stdout, stderr, code } = await vmapipe(['verify', '--sample', '100%', place])
    assert.equal(code, 3, stderr)
    assert.match(stdout.toString(), /^DAMAGED {2}.*2\.vma {2}.*$/m)
    assert.match(stdout.toString(), /3 archives verified in .*, 100.0 % of the place/)
    assert.match(stderr, /1 archive of 3 failed: '.*2.vma'/)
    assert.deepEqual(
      (await readCatalog(place)).map(({ checks }) => checks.map(({ passed }) => passed)),
      [[true], [true], [false]],
    )
    const { verdicts } = await prune(place, { last: 1 }, { dryRun: true })
    const told = verdicts.map(({ entry, stays, reasons }) => `${entry.name} ${stays} ${reasons.join()}`)
    assert.deepEqual(told, [
      '0.vma false no rule keeps it',
      '1.vma true newest good archive,last 1',
      '2.vma true last 1, though it failed its check',
    ])
    const listed = await vmapipe(['archives', place])
    assert.match(listed.stdout.toString(), /FAILED 20/)
  })

  test('of one archive is noted with --record, whatever the result is', async (t) => {
    const { place, disks } = makePlace(t)
    const archive = join(place, 'x.vma')
    await new SmallGuest(disks, 'web').backup(archive, { since: undefined })
    const checks = async () => (await readCatalog(place))[0].checks.map(({ kind, passed }) => [kind, passed])
    assert.equal((await vmapipe(['verify', archive])).code, 0)
    assert.deepEqual(await checks(), [])
    assert.equal((await vmapipe(['verify', '--record', archive])).code, 0)
    assert.deepEqual(await checks(), [['verify', true]])
    const bytes = readFileSync(archive)
    bytes[bytes.length >> 1] ^= 0xff
    writeFileSync(archive, bytes)
    assert.equal((await vmapipe(['verify', '--record', archive])).code, 3)
    assert.deepEqual(await checks(), [['verify', false]])
    assert.equal((await vmapipe(['verify', '--sample', '5', place])).code, 2)
    assert.equal((await vmapipe(['verify', '--guest', 'x', archive])).code, 2)
  })
})
