/** Names that archives of other tools have, and names that ours never get. */

import assert from 'node:assert/strict'
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { bindStage } from '../../src/config/registry.ts'
import { definePipeline } from '../../src/core/pipeline.ts'
import { backup } from '../../src/operations/backup.ts'
import { LiveRestore } from '../../src/operations/live-restore.ts'
import { readManifest } from '../../src/operations/manifest.ts'
import { repack } from '../../src/operations/repack.ts'
import { restore } from '../../src/operations/restore.ts'
import { verify } from '../../src/operations/verify.ts'
import { DRIVE, type Forgery, forge } from '../support/forge.ts'
import { tmpDir } from '../support/tmp.ts'

const limits = { timeout: 120_000 }
const config = (name: string, data: string) => ({ name, data: Buffer.from(data) })

function archiveIn(dir: string, forgery: Forgery): string {
  const path = join(dir, 'odd.vma')
  writeFileSync(path, forge(forgery))
  return path
}

describe('an archive of another tool', limits, () => {
  const twice: Forgery = { configs: [config('c', 'one'), config('c', 'two'), config('same', 's'), config('same', 's')] }
  const files = { c: 'two', 'c.1': 'one', same: 's' }

  test('with configs of one name is restored, all contents under names of their own, and a warning', async (t) => {
    const dir = tmpDir(t)
    const from = archiveIn(dir, twice)
    const warnings: string[] = []
    await restore({ from, into: join(dir, 'out'), warn: (line) => warnings.push(line) })
    assert.deepEqual(readdirSync(join(dir, 'out')).sort(), [...Object.keys(files), 'disk-d.raw'].sort())
    for (const [name, content] of Object.entries(files))
      assert.equal(readFileSync(join(dir, 'out', name), 'utf8'), content)
    assert.equal(warnings.length, 1)
    assert.match(warnings[0], /'c' is restored as 'c\.1'/)
    await verify({ from })
  })

  test('with configs of one name is restored while a guest runs on it', async (t) => {
    const dir = tmpDir(t)
    const warnings: string[] = []
    const live = await LiveRestore.open({
      from: archiveIn(dir, twice),
      into: join(dir, 'out'),
      socket: join(dir, 's'),
      warn: (line) => warnings.push(line),
    })
    await live.start()
    await live.done
    await live.stop()
    for (const [name, content] of Object.entries(files))
      assert.equal(readFileSync(join(dir, 'out', name), 'utf8'), content)
    assert.match(warnings[0], /'c' is restored as 'c\.1'/)
  })

  for (const live of [false, true]) {
    test(`with names that are no UTF-8 is restored under the same bytes${live ? ' while a guest runs on it' : ''}`, async (t) => {
      const dir = tmpDir(t)
      const drives = [
        { ...DRIVE, name: 'platte-\udce4' },
        { ...DRIVE, id: 2, name: 'platte-\udcf6' },
      ]
      const from = archiveIn(dir, { drives, configs: [config('\udcff.conf', 'x')] })
      const into = join(dir, 'out')
      for (const force of [false, true]) {
        if (live) {
          const restore = await LiveRestore.open({ from, into, socket: join(dir, 's'), force })
          await restore.start()
          await restore.done
          await restore.stop()
        } else await restore({ from, into, force, warn: (line) => assert.fail(line) })
        const left = readdirSync(into, { encoding: 'buffer' }).map((name) => name.toString('latin1'))
        assert.deepEqual(left.sort(), ['disk-platte-\xe4.raw', 'disk-platte-\xf6.raw', '\xff.conf'])
      }
      await assert.rejects(restore({ from, into }), { message: /exists and was not overwritten/ })
      await restore({ from, drives: { 'platte-\\xf6': join(dir, 'one.raw') } })
      assert.ok(existsSync(join(dir, 'one.raw')))
    })
  }

  for (const keepOrder of [false, true]) {
    test(`keeps its names when it is repacked${keepOrder ? ' in its order' : ''}`, async (t) => {
      const dir = tmpDir(t)
      const drives = [
        { ...DRIVE, name: 'platte-\udce4' },
        { ...DRIVE, id: 2, name: 'platte-\udcf6' },
      ]
      const from = archiveIn(dir, { ...twice, drives })
      const to = join(dir, 'new.vma')
      await repack({ from, to, keepOrder })
      const { configs, drives: kept } = await readManifest({ from: to })
      assert.deepEqual(
        configs.map(({ name, data }) => config(name, Buffer.from(data).toString())),
        twice.configs,
      )
      assert.deepEqual(
        kept.map(({ name }) => name),
        ['platte-\udce4', 'platte-\udcf6'],
      )
      await repack({ from, to, keepOrder, force: true, keep: ['platte-\\xf6'] })
      assert.equal((await readManifest({ from: to })).drives[0].name, 'platte-\udcf6')
    })
  }

  test('with a config that has no data, or no name, is read without it', async (t) => {
    const dir = tmpDir(t)
    const forgery = { configs: [config('gone', 'x'), config('c', 'y'), config('nameless', 'z')] }
    const header = (bytes: Buffer) => {
      bytes.writeUInt32BE(0, 3068)
      bytes.writeUInt32BE(0, 2044 + 8)
    }
    await restore({ from: archiveIn(dir, { ...forgery, header }), into: join(dir, 'out') })
    assert.deepEqual(readdirSync(join(dir, 'out')).sort(), ['c', 'disk-d.raw'])
  })

  test('with two drives of one name is not repacked without one of them', async (t) => {
    const dir = tmpDir(t)
    const from = archiveIn(dir, { drives: [DRIVE, { ...DRIVE, id: 2 }] })
    const run = repack({ from, to: join(dir, 'new.vma') })
    await assert.rejects(run, { code: 'DAMAGED', message: /two drives of the name 'd'/, hint: /--keep-order/ })
    assert.ok(!existsSync(join(dir, 'new.vma')))
  })
})

describe('what no restore could make files of is refused before anything is written', limits, () => {
  const cases: Record<string, [string[], string[]]> = {
    'a config that is called as the file of a drive': [['d'], ['disk-d.raw']],
    'a config with a backslash': [['d'], ['a\\b']],
    'a drive with a slash': [['a/b'], []],
    'a name that is too long': [['d'.repeat(300)], []],
  }
  for (const [what, [drives, configs]] of Object.entries(cases)) {
    test(what, async (t) => {
      const dir = tmpDir(t)
      const [disk, to] = [join(dir, 'disk'), join(dir, 'a.vma')]
      writeFileSync(disk, Buffer.alloc(1000))
      const record = (names: string[]) => Object.fromEntries(names.map((name) => [name, disk]))
      const run = backup({ drives: record(drives), configs: record(configs), to })
      await assert.rejects(run, { code: 'USAGE', message: /name/ })
      assert.deepEqual(readdirSync(dir), ['disk'])
    })
  }

  test('two configs of one base name in a pipeline', async (t) => {
    const dir = tmpDir(t)
    const path = join(dir, 'c')
    writeFileSync(path, 'x')
    const stages = [
      bindStage('cluster-source', { configs: [path, `${dir}/./c`] }),
      bindStage('vma-framer', {}),
      bindStage('sink', { to: join(dir, 'a.vma') }),
    ]
    await assert.rejects(definePipeline(stages).run(), { code: 'USAGE', message: /config name 'c' is not alone/ })
    assert.deepEqual(readdirSync(dir), ['c'])
  })
})
