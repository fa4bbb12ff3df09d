import assert from 'node:assert/strict'
import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import {
  abort,
  backup,
  backupGuest,
  cat,
  definePipeline,
  detach,
  drives,
  exportArchive,
  indexArchive,
  LiveRestore,
  openArchive,
  openDisk,
  openDriveReader,
  openDriveWriter,
  readManifest,
  readPartitions,
  repack,
  restore,
  serve,
  sink,
  source,
  toNodeStream,
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
  const places: [(place: string, options: object) => Promise<unknown>, object, RegExp][] = [
    [openArchive as never, { ony: ['d'] }, /^openArchive: .*'ony'/],
    [openDriveReader as never, { forceSahre: true }, /^openDriveReader: .*'forceSahre'/],
    [openDriveWriter as never, { froce: true, size: 1 }, /^openDriveWriter: .*'froce'/],
    [openDriveWriter as never, {}, /^openDriveWriter: option size: /],
    [openDisk as never, { readonly: true }, /^openDisk: .*'readonly'/],
  ]
  for (const [open, options, message] of places) cases.push([(given) => open(archive, given), options, message])
  const pipeline = definePipeline([source({ from: archive }), sink({ to: other })])
  cases.push(
    [backupGuest as Loose, { qmp: 'x', to: other, froce: true }, /^backupGuest: .*'froce'/],
    [serve as Loose, { drives: { d: disk }, listen: '127.0.0.1:0' }, /^serve: option listen: /],
    [
      (options) => LiveRestore.open(options as never),
      { from: archive, into: other, listen: '127.0.0.1:0' },
      /listen: /,
    ],
    [detach as Loose, { qpm: 'x' }, /^detach: .*'qpm'/],
    [drives as Loose, { qpm: 'x' }, /^drives: .*'qpm'/],
    [abort as Loose, { atach: 'x' }, /^abort: /],
    [indexArchive as Loose, { archive, froce: true }, /^indexArchive: .*'froce'/],
    [async (options) => pipeline.run(options), { bufer: 1 }, /^run: .*'bufer'/],
    [
      async (options) => toNodeStream(definePipeline([source({ from: archive })]), options).toArray(),
      { bufer: 1 },
      /'bufer'/,
    ],
  )
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
