import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readdirSync, symlinkSync, unlinkSync, utimesSync, writeFileSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { openDriveWriter } from '../../src/storage/open.ts'
import { lockName } from '../../src/storage/partial-entry.ts'
import { PartialFile } from '../../src/storage/partial-file.ts'
import { lockFile } from '../../src/storage/partial-lock.ts'
import { partialName, SHARED, UNLOCKED } from '../../src/storage/partial-name.ts'
import { tmpDir } from '../support/tmp.ts'
import { needs } from '../support/tools.ts'

const timeout = 60_000

/** A file, or a folder with an image in it, as a killed run leaves it; its name. */
function left(dir: string, name: string | Buffer, { place = SHARED, isFolder = false } = {}): string {
  const partial = partialName(Buffer.from(name), place)
  const path = Buffer.concat([Buffer.from(`${dir}/`), partial])
  if (isFolder) {
    mkdirSync(path)
    for (const file of [lockName(partial), String(name)]) writeFileSync(join(path.toString(), file), '')
  } else writeFileSync(path, '')
  return partial.toString('latin1')
}

const list = (dir: string) => readdirSync(dir, { encoding: 'latin1' }).sort()

/** What a run that writes `vm.vma` there says. */
async function run(dir: string): Promise<string[]> {
  const warnings: string[] = []
  const file = await PartialFile.create(join(dir, 'vm.vma'), { warn: (line) => warnings.push(line) })
  await file.close()
  return warnings
}

test('what dead runs have left is removed and named, whatever it was to become', { timeout }, async (t) => {
  const dir = tmpDir(t)
  const names = ['vm.vma', 'other', 'x'.repeat(255)].map((name) => left(dir, name))
  names.push(left(dir, 'disk.qcow2', { isFolder: true }), left(dir, Buffer.from([0x61, 0xe9])))
  const empty = left(dir, 'early', { isFolder: true })
  for (const name of readdirSync(join(dir, empty))) unlinkSync(join(dir, empty, name))
  const warnings = await run(dir)
  assert.deepEqual(list(dir), [])
  assert.equal(warnings.length, names.length + 1)
  for (const line of warnings) assert.match(line, /^removed '.*\.partial', left by a run that was killed$/)
})

test('what only looks like it stays, without a word', { timeout }, async (t) => {
  const dir = tmpDir(t)
  writeFileSync(join(dir, 'precious'), '')
  const links = partialName(Buffer.from('link'), SHARED).toString()
  symlinkSync('precious', join(dir, links))
  for (const name of [
    '.vm.vma.partial',
    '.vm.vma.host-1.partial',
    '.notes.0123456789abcdef-00000000-01234567.partial',
  ]) {
    writeFileSync(join(dir, name), '')
  }
  const before = list(dir)
  assert.deepEqual(await run(dir), [])
  assert.deepEqual(list(dir), before)
})

test('what another run holds stays, and is named if it is for the same file', { timeout }, async (t) => {
  const dir = tmpDir(t)
  const folder = left(dir, 'disk.qcow2', { isFolder: true })
  const alive = [left(dir, 'vm.vma'), left(dir, 'other'), `${folder}/${lockName(Buffer.from(folder))}`]
  for (const name of alive) {
    const file = await open(join(dir, name), 'r+')
    t.after(() => file.close())
    assert.equal(await lockFile(file), 'held')
  }
  const before = list(dir)
  assert.deepEqual(await run(dir), [`'${join(dir, alive[0])}' is being written by another run`])
  assert.deepEqual(list(dir), before)
})

test('one whose lock cannot be seen stays, and is named if it is for the same file or old', { timeout }, async (t) => {
  const dir = tmpDir(t)
  const same = left(dir, 'vm.vma', { place: UNLOCKED })
  const old = left(dir, 'old', { place: 'deadbeef' })
  left(dir, 'new', { place: UNLOCKED })
  utimesSync(join(dir, old), 1e9, 1e9)
  const before = list(dir)
  const warnings = await run(dir)
  assert.deepEqual(list(dir), before)
  assert.equal(warnings.length, 2)
  for (const name of [same, old])
    assert.ok(warnings.some((line) => line.includes(name) && /remove it if no run is writing it/.test(line)))
})

test('what this very process writes is not taken for left', { timeout }, async (t) => {
  const dir = tmpDir(t)
  const writers = [
    await openDriveWriter(join(dir, 'a.raw'), { size: 1 }),
    await openDriveWriter(join(dir, 'b.raw'), { size: 1 }),
  ]
  assert.deepEqual(await run(dir), [])
  assert.equal(list(dir).length, 2)
  for (const writer of writers) await writer.publish()
  assert.deepEqual(list(dir), ['a.raw', 'b.raw'])
})

test('of runs that begin and clear up at once none takes the file of another', { timeout }, async (t) => {
  const dir = tmpDir(t)
  const names = Array.from({ length: 40 }, (_, index) => `${index}.raw`)
  await Promise.all(
    names.map(async (name) => {
      const file = await PartialFile.create(join(dir, name), { warn: assert.fail })
      await file.publish()
    }),
  )
  assert.deepEqual(list(dir), names.sort())
})

test('a program that is not loaded with native code locks by flock', { timeout, ...needs('flock') }, async (t) => {
  const path = join(tmpDir(t), 'file')
  const holder = spawn('flock', ['-x', path, 'sh', '-c', 'echo; read x'], { stdio: ['pipe', 'pipe', 'ignore'] })
  t.after(() => holder.kill())
  await once(holder.stdout, 'data')
  assert.ok(existsSync(path))
  const file = await open(path, 'r+')
  t.after(() => file.close())
  assert.equal(await lockFile(file), 'busy')
  holder.stdin.end()
  await once(holder, 'exit')
  assert.equal(await lockFile(file), 'held')
})
