/** Guests whose images are on one disk: `per-disk` says how many of them are backed up at once. */

import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdirSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { disksOf } from '../../../src/jobs/guests/disks.ts'
import type { Guest } from '../../../src/jobs/guests/guest.ts'
import { limitsOf } from '../../../src/jobs/run/limits.ts'
import { Queue } from '../../../src/jobs/run/queue.ts'
import { Slots } from '../../../src/jobs/run/slots.ts'
import { tmpDir } from '../../support/tmp.ts'
import { lacking } from '../../support/tools.ts'
import { madeUpBackups, TestClock } from './made-up.ts'
import { entries, nightly } from './nightly.ts'

const limits = { timeout: 120_000 }
const WHILE = 5000

/** A disk of this kernel by as many paths as there are names; none without root or a disk. Nothing is read from it. */
function oneDisk(folder: string, names: readonly string[]): string[] {
  const [number] = readdirSync('/sys/dev/block')
  if (number === undefined) return []
  try {
    return names.map((name) => {
      const path = join(folder, name)
      execFileSync('mknod', [path, 'b', ...number.split(':')], { stdio: 'ignore' })
      return path
    })
  } catch {
    return []
  }
}

describe('a limit of guests on one disk', () => {
  test('holds for all that share it, and others go on beside them', limits, async (t) => {
    const night = nightly(t, ['a', 'b', 'c', 'd'])
    const job = night.job(
      `guests:\n${entries(night, ['a', 'b', 'c', 'd'])}to: ${night.dir}/place\nlimits: { parallel: 4, per-disk: 1 }\n`,
    )
    // c has drives on both.
    const disks: Record<string, string[]> = { a: ['sda'], b: ['sda'], c: ['sda', 'sdb'], d: ['sdb'] }
    const clock = new TestClock('2026-11-29T01:30:00')
    mkdirSync(join(night.dir, 'locks'))
    const slots = new Slots(join(night.dir, 'locks'))
    const running = new Set<string>()
    const begun: string[] = []
    const tooMany: string[] = []
    let most = 0
    const { signal } = new AbortController()
    const queue = new Queue({
      guests: ['a', 'b', 'c', 'd'].map((name) => ({ name, notBefore: 0 })),
      parallel: 4,
      clock,
      signal,
      since: () => 0,
      disks: ({ name }) => disks[name],
      take: ({ name }) => {
        const guest: Guest = { name, source: { kind: 'drives', drives: { d: night.disk(name) } }, entry: job.guests[0] }
        return slots.take(limitsOf(job, guest, disks[name]))
      },
      async work({ name }, held) {
        running.add(name)
        begun.push(name)
        most = Math.max(most, running.size)
        for (const disk of ['sda', 'sdb']) {
          const there = [...running].filter((one) => disks[one].includes(disk))
          if (there.length > 1) tooMany.push(`${there} at once on ${disk}`)
        }
        await clock.sleep(WHILE, signal)
        running.delete(name)
        await held.release()
        return false
      },
    })
    await queue.run()
    assert.deepEqual(tooMany, [])
    assert.deepEqual(begun.toSorted(), ['a', 'b', 'c', 'd'])
    assert.equal(most, 2, 'a and d are on two disks')
  })

  test('is that of a run, whose guests are on devices of this host', limits, async (t) => {
    const names = ['a', 'b', 'c']
    const paths = oneDisk(tmpDir(t), names)
    const [disk] = paths.length === 0 ? [] : await disksOf(onDevice('a', paths[0]), new AbortController().signal)
    if (disk === undefined) return lacking(t, 'needs root, and a disk')
    const night = nightly(t)
    const guests = names.map((name, at) => `  - { name: ${name}, drives: { d: ${paths[at]} } }\n`).join('')
    const run = async (perDisk: string) => {
      const job = night.job(`guests:\n${guests}to: ${night.dir}/place\nlimits: { parallel: 3${perDisk} }\n`)
      const clock = new TestClock('2026-11-29T01:30:00')
      const made = madeUpBackups(clock, () => ({ minutes: 0.1 }))
      const report = await night.run(job, { clock, start: made.start }).run()
      assert.equal(report.outcome, 'all', JSON.stringify(report))
      return made.most()
    }
    assert.equal(await run(', per-disk: 1'), 1)
    assert.equal(await run(', per-disk: 2'), 2)
    assert.equal(await run(''), 3)
  })
})

function onDevice(name: string, path: string): Guest {
  return { name, source: { kind: 'drives', drives: { d: path } }, entry: { name, drives: { d: path } } }
}
