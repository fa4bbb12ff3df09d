import assert from 'node:assert/strict'
import { test } from 'node:test'
import { besideArchive, mayBeginArchive, parseArchiveName } from '../../src/storage/archive/names.ts'

test('a name tells the archive, its volume and what is beside it', () => {
  const parts = (name: string) => {
    const parsed = parseArchiveName(name)
    return parsed && [parsed.archive, parsed.volume, parsed.suffix]
  }
  assert.deepEqual(parts('vm.vma'), ['vm.vma', null, null])
  assert.deepEqual(parts('vm.vmi.zst.age'), ['vm.vmi.zst.age', null, null])
  assert.deepEqual(parts('vm.vma.zst.007'), ['vm.vma.zst', 7, null])
  assert.deepEqual(parts('vm.vma.zst.000.idx'), ['vm.vma.zst', 0, 'idx'])
  assert.deepEqual(parts('vm.vma.volumes'), ['vm.vma', null, 'volumes'])
  assert.deepEqual(parts('vm.vma.zst.notes'), ['vm.vma.zst', null, 'notes'])
  assert.deepEqual(parts('vm.vma.zst.boot.png'), ['vm.vma.zst', null, 'boot.png'])
  assert.deepEqual(parts('a.vma.notes.vma'), ['a.vma.notes.vma', null, null])
  for (const name of [
    'vm.raw',
    '.vm.vma',
    'vm.vma.old',
    'vm.vma.zst.txt',
    '.x.vma.0-1-2.partial',
    'notes',
    'vm.vma.copying',
    'vm.vma.notes2',
  ]) {
    assert.equal(parts(name), null, name)
  }
})

test('an archive may begin in files that users have named, but in none beside an archive', () => {
  for (const name of ['vm.vma', 'vm.vmi.zst', 'vm.vma.old', 'vm.vma.000']) assert.ok(mayBeginArchive(name), name)
  for (const name of ['vm.vma.001', 'vm.vma.notes', 'vm.vma.checks', 'vm.vma.idx', '.vm.vma', 'vm.raw'])
    assert.ok(!mayBeginArchive(name), name)
  assert.equal(besideArchive('/x/vm.vma.000', 'notes'), '/x/vm.vma.notes')
})
