import assert from 'node:assert/strict'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { rehearse } from '../../src/live/rehearsal.ts'
import { Service } from '../../src/live/service.ts'
import { tmpDir } from '../support/tmp.ts'

const timeout = 60_000

/** With this folder for what is temporary. */
async function rehearseIn(folder: string): Promise<boolean> {
  const { TMPDIR } = process.env
  process.env.TMPDIR = folder
  try {
    return await rehearse((props) => new Service({ ...props, rehearsed: false }))
  } finally {
    if (TMPDIR === undefined) delete process.env.TMPDIR
    else process.env.TMPDIR = TMPDIR
  }
}

test('a rehearsal goes through, and leaves nothing', { timeout }, async (t) => {
  const folder = tmpDir(t)
  assert.equal(await rehearseIn(folder), true)
  assert.deepEqual(readdirSync(folder), [])
})

test('where there is no place for it, the service does without', { timeout }, async (t) => {
  assert.equal(await rehearseIn(join(tmpDir(t), 'missing')), false)
})
