import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { readdirSync, writeFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { claim, clearLeftOvers, partialName, partialPath, unclaim } from '../../src/storage/partial-name.ts'
import { tmpDir } from '../support/tmp.ts'

test('a temporary name is hidden, beside the final one, and tells host and process', () => {
  assert.equal(partialPath('/srv/vm.vma'), `/srv/.vm.vma.${hostname()}-${process.pid}.partial`)
})

test('a temporary name is never too long for a filesystem', () => {
  for (const name of ['x'.repeat(255), 'ü'.repeat(127)]) {
    assert.ok(Buffer.byteLength(partialName(name)) <= 255)
  }
})

test('left-overs of dead processes are removed, others are named, and strangers are left alone', async (t) => {
  const dir = tmpDir(t)
  const dead = spawnSync('true').pid
  const name = (host: string, pid: number) => `.vm.vma.${host}-${pid}.partial`
  const stale = name(hostname(), dead)
  const running = name(hostname(), process.ppid)
  const elsewhere = name('elsewhere', dead)
  const others = ['.vm.vma.partial', `.other.${hostname()}-${dead}.partial`, 'vm.vma', '.vm.vma.txt']
  for (const file of [stale, running, elsewhere, ...others]) writeFileSync(join(dir, file), '')
  const warnings: string[] = []
  await clearLeftOvers(join(dir, 'vm.vma'), (line) => warnings.push(line))
  assert.deepEqual(new Set(readdirSync(dir)), new Set([running, elsewhere, ...others]))
  assert.equal(warnings.length, 3)
  assert.ok(warnings.some((line) => line.startsWith(`removed '${join(dir, stale)}'`)))
  assert.ok(warnings.some((line) => line.includes(running) && line.includes(`process ${process.ppid}`)))
  assert.ok(warnings.some((line) => line.includes(elsewhere)))
})

test('a left-over of an earlier process with our number is removed, what we write now is not', async (t) => {
  const path = join(tmpDir(t), 'vm.vma')
  const partial = partialPath(path)
  writeFileSync(partial, '')
  assert.ok(claim(partial))
  assert.ok(!claim(partial))
  await clearLeftOvers(path, () => {})
  assert.equal(readdirSync(join(path, '..')).length, 1)
  unclaim(partial)
  await clearLeftOvers(path, () => {})
  assert.deepEqual(readdirSync(join(path, '..')), [])
})
