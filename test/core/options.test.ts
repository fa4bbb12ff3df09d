import assert from 'node:assert/strict'
import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import {
  backup,
  cat,
  exportArchive,
  LiveRestore,
  readManifest,
  readPartitions,
  repack,
  restore,
  verify,
} from '../../src/index.ts'
import { tmpDir } from '../support/tmp.ts'

/** Calls of JavaScript, which no compiler has checked. */
type Loose = (options: object) => Promise<unknown>

test('a function of the library refuses an option that it does not have, by name, and writes nothing', async (t) => {
  const dir = tmpDir(t)
  const disk = join(dir, 'disk.raw')
  writeFileSync(disk, Buffer.alloc(65536, 'x'))
  const archive = join(dir, 'a.vma')
  const other = join(dir, 'b.vma')
  await backup({ drives: { d: disk }, to: archive })
  const cases: [Loose, object, RegExp][] = [
    [backup as Loose, { drives: { d: disk }, to: other, compres: 'none' }, /^backup: .*'compres'/],
    [backup as Loose, { drives: { d: disk }, to: other, force: 'yes' }, /^backup: option force: .*true or false/],
    [backup as Loose, { drives: { d: disk } }, /^backup: option to: /],
    [backup as Loose, { drives: { d: 7 }, to: other }, /^backup: option drives\.d: expected text, got 7/],
    [restore as Loose, { from: archive, into: other, forse: true }, /^restore: .*'forse'/],
    [verify as Loose, { from: archive, form: 'x' }, /^verify: .*'form'/],
    [readManifest as Loose, { form: archive }, /^readManifest: /],
    [repack as Loose, { from: archive, to: other, keepOrdre: true }, /^repack: .*'keepOrdre'/],
    [cat as Loose, { from: archive, drive: 'd', offset: '1' }, /^cat: option offset: expected a number/],
    [exportArchive as Loose, { from: archive, listen: '127.0.0.1:0' }, /^exportArchive: option listen: /],
    [readPartitions as Loose, { from: archive, drvie: 'd' }, /^readPartitions: /],
    [(options) => LiveRestore.open(options as never), { from: archive, into: other, lisen: 1 }, /'lisen'/],
  ]
  for (const [call, options, message] of cases) {
    await assert.rejects(call(options), { code: 'USAGE', message }, String(message))
    assert.ok(!existsSync(other))
  }
  const hint = /did you mean compress\?/
  await assert.rejects((backup as Loose)({ to: other, compres: 'none' }), { code: 'USAGE', hint })
})

test('an option that is undefined counts as not given', async (t) => {
  const dir = tmpDir(t)
  const disk = join(dir, 'disk.raw')
  writeFileSync(disk, Buffer.alloc(65536, 'x'))
  await backup({ drives: { d: disk }, to: join(dir, 'a.vma'), bwlimit: undefined, signal: undefined, force: undefined })
})
