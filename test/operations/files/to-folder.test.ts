import assert from 'node:assert/strict'
import { existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { type TestContext, test } from 'node:test'
import { type Header, pack } from 'tar-stream'
import { tarItems } from '../../../src/operations/files/tar-items.ts'
import { extractInto, staysWithin } from '../../../src/operations/files/to-folder.ts'
import { tmpDir } from '../../support/tmp.ts'

/** A tar of these entries, as a guest's filesystem might give it. */
function tarOf(entries: readonly (Partial<Header> & { name: string; text?: string })[]): Readable {
  const tar = pack()
  for (const { text = '', ...header } of entries) tar.entry(header, text)
  tar.finalize()
  return Readable.from(tar as AsyncIterable<Uint8Array>)
}

async function extracted(
  t: TestContext,
  entries: readonly (Partial<Header> & { name: string; text?: string })[],
  base = '',
) {
  const dir = tmpDir(t)
  const into = join(dir, 'out')
  const warnings: string[] = []
  const outcome = await extractInto(into, tarItems(tarOf(entries), base), (message) => warnings.push(message))
  return { dir, into, warnings, outcome }
}

test('a name that leads out of the folder ends the extraction, and nothing is left', async (t) => {
  for (const name of ['../x', 'a/../../x', 'a/..']) {
    const dir = tmpDir(t)
    const items = tarItems(
      tarOf([
        { name: 'a', text: 'x' },
        { name, text: 'x' },
      ]),
      'etc',
    )
    await assert.rejects(
      extractInto(join(dir, 'out'), items, () => {}),
      { code: 'FAILED', message: /leads out/ },
    )
    assert.deepEqual(readdirSync(dir), [])
  }
})

test('nothing is written through a symlink, whatever its order; an absolute name counts from the folder', async (t) => {
  const { dir, into, warnings } = await extracted(t, [
    { name: 'link', type: 'symlink', linkname: 'real' },
    { name: 'link/file', text: 'through' },
    { name: 'evil', type: 'symlink', linkname: '../outside' },
    { name: 'file', text: 'once' },
    { name: 'file', text: 'twice' },
    { name: 'file/below', text: 'x' },
    { name: '/absolute', text: 'x' },
  ]).catch((error) => assert.fail(error))
  assert.deepEqual(readdirSync(dir), ['out'])
  assert.equal(readFileSync(join(into, 'file'), 'utf8'), 'once')
  assert.ok(existsSync(join(into, 'absolute')))
  assert.ok(!existsSync(join(into, 'real')))
  assert.ok(!existsSync(join(into, 'evil')))
  for (const name of ['link/file', 'evil', 'file', 'file/below'])
    assert.ok(
      warnings.some((text) => text.startsWith(`'/${name}' `)),
      `${name}: ${warnings.join('\n')}`,
    )
})

test('devices are left out, setuid is taken away, a hard link names only what was extracted', async (t) => {
  const { into, warnings, outcome } = await extracted(
    t,
    [
      { name: 'null', type: 'character-device' },
      { name: 'pipe', type: 'fifo' },
      { name: 'program', mode: 0o6755, text: 'x' },
      { name: 'again', type: 'link', linkname: 'program' },
      { name: 'shadow', type: 'link', linkname: '/etc/shadow' },
      { name: 'within', type: 'symlink', linkname: 'program' },
    ],
    'bin',
  )
  assert.deepEqual(readdirSync(join(into, 'bin')).sort(), ['again', 'program', 'within'])
  assert.equal(lstatSync(join(into, 'bin/program')).mode & 0o7777, 0o755)
  assert.equal(readlinkSync(join(into, 'bin/within')), 'program')
  assert.deepEqual([outcome.files, outcome.links, outcome.leftOut, warnings.length], [2, 1, 3, 3])
})

test('a folder that has something in it is refused, an empty one is taken', async (t) => {
  const dir = tmpDir(t)
  mkdirSync(join(dir, 'empty'))
  await extractInto(join(dir, 'empty'), tarItems(tarOf([{ name: 'a', text: 'x' }]), ''), () => {})
  assert.deepEqual(readdirSync(join(dir, 'empty')), ['a'])
  writeFileSync(join(dir, 'empty/b'), '')
  await assert.rejects(
    extractInto(join(dir, 'empty'), tarItems(tarOf([]), ''), () => {}),
    { code: 'USAGE' },
  )
  assert.deepEqual(readdirSync(join(dir, 'empty')).sort(), ['a', 'b'])
})

test('a tar that is cut leaves nothing', async (t) => {
  const dir = tmpDir(t)
  const whole: Uint8Array[] = []
  for await (const bytes of tarOf([{ name: 'a', text: 'x'.repeat(5000) }])) whole.push(bytes)
  const cut = Readable.from([Buffer.concat(whole).subarray(0, 2000)])
  await assert.rejects(extractInto(join(dir, 'out'), tarItems(cut, ''), () => {}))
  assert.deepEqual(readdirSync(dir), [])
})

test('a symlink stays within if it steps up only over the folders that it is in', () => {
  for (const target of ['x', './x/y', '../x', 'a//b', '..']) assert.ok(staysWithin('d/link', target), target)
  for (const target of ['/x', '../../x', 'x/..', '../x/../y', 'x/../../..', '', 'a\0'])
    assert.ok(!staysWithin('d/link', target), target)
  assert.ok(!staysWithin('link', '..'))
})
