import assert from 'node:assert/strict'
import { closeSync, openSync, truncateSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { compareDrive } from '../../../src/cli/demo/compare.ts'
import { DemoDrive, MIB, makeImage, PAGE } from '../../../src/cli/demo/drives.ts'
import { DemoJournal, recordOf } from '../../../src/cli/demo/journal.ts'
import { tmpDir } from '../../support/tmp.ts'

const { signal } = new AbortController()
const drive = new DemoDrive({ name: 'd', size: 5, text: 1, noise: 1, zeros: 1 })
const INSTANT = 1000

/** An image of the drive as it began, a journal, and the two compared. */
async function scene(t: TestContext) {
  const path = join(tmpDir(t), 'image')
  await makeImage(path, drive, signal)
  const journal = new DemoJournal()
  return {
    path,
    wrote: (page: number, number: number, begun: number, ended: number) =>
      journal.writes.push({ drive: 'd', page, number, begun, ended, latency: ended - begun }),
    holds: (page: number, number: number) => put(path, page * PAGE, recordOf({ drive: 'd', page, number })),
    compare: () => compareDrive(path, drive, { journal, instant: INSTANT }, signal),
  }
}

function put(path: string, at: number, bytes: Buffer): void {
  const fd = openSync(path, 'r+')
  writeSync(fd, bytes, 0, bytes.length, at)
  closeSync(fd)
}

describe('the restored drive of the demo', () => {
  test('passes with what was written before the point in time, and without what came after', async (t) => {
    const { wrote, holds, compare } = await scene(t)
    await compare()
    wrote(3, 1, 10, 11)
    wrote(3, 2, 20, 21)
    wrote(3, 3, 2000, 2001)
    wrote(900, 4, 1001, 1002)
    holds(3, 2)
    await compare()
  })

  test('is refused where an acknowledged write is missing', async (t) => {
    const { path, wrote, holds, compare } = await scene(t)
    wrote(600, 1, 10, 11)
    wrote(600, 2, 20, 999)
    holds(600, 1)
    const offset = 600 * PAGE
    await assert.rejects(compare(), {
      code: 'FAILED',
      message: /^write 2, acknowledged/,
      where: { offset, file: path },
    })
  })

  test('is refused where a write is there that was begun after the point in time', async (t) => {
    const { wrote, holds, compare } = await scene(t)
    wrote(7, 1, 1001, 1002)
    holds(7, 1)
    await assert.rejects(compare(), { code: 'FAILED', message: /written only after/ })
  })

  test('may or may not hold a write that was under way, and nothing else in its place', async (t) => {
    const { wrote, holds, compare } = await scene(t)
    wrote(7, 1, 10, 11)
    wrote(7, 2, 999, 1001)
    wrote(8, 3, 1000, Number.POSITIVE_INFINITY)
    holds(7, 1)
    await compare()
    holds(7, 2)
    holds(8, 3)
    await compare()
    holds(7, 3)
    await assert.rejects(compare(), { message: /^write 1, acknowledged/ })
  })

  test('is refused for one flipped bit, a byte in a hole, or another size', async (t) => {
    const flipped = await scene(t)
    put(flipped.path, MIB + 5, Buffer.from('!'))
    await assert.rejects(flipped.compare(), { where: { offset: MIB + 5, file: flipped.path } })
    const filled = await scene(t)
    put(filled.path, 5 * MIB - 1, Buffer.from('!'))
    await assert.rejects(filled.compare(), { where: { offset: 5 * MIB - 1, file: filled.path } })
    const cut = await scene(t)
    truncateSync(cut.path, 5 * MIB - 1)
    await assert.rejects(cut.compare(), { message: /5242879 bytes instead of 5242880/ })
  })
})
