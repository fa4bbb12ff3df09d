import assert from 'node:assert/strict'
import { test } from 'node:test'
import { formatList, parseList } from '../../../../src/storage/archive/volumes/list.ts'
import { parseVolumeName, volumeName } from '../../../../src/storage/archive/volumes/names.ts'

const volumes = [
  { size: 2 ** 32, mark: 0x1f0a93cc },
  { size: 0, mark: 0 },
]

test('a list comes back as it was written', () => {
  assert.equal(formatList(volumes), 'vmapipe volumes 1\n4294967296 1f0a93cc\n0 00000000\nend 2 99bef95c\n')
  assert.deepEqual(parseList(formatList(volumes), 'x'), volumes)
})

test('a list that was changed or cut, or claims too much, is refused', () => {
  const good = formatList(volumes)
  for (let at = 0; at < good.length; at++) {
    assert.throws(() => parseList(good.slice(0, at), 'x'), { code: 'DAMAGED' })
    assert.throws(() => parseList(`${good.slice(0, at)}\t${good.slice(at + 1)}`, 'x'), { code: 'DAMAGED' }, String(at))
  }
  const many = Array.from({ length: 1001 }, () => volumes[0])
  for (const wrong of [
    many,
    [],
    [
      { size: 9e15, mark: 1 },
      { size: 9e15, mark: 1 },
    ],
  ]) {
    assert.throws(() => parseList(formatList(wrong), 'x'), { code: 'DAMAGED' })
  }
})

test('the name of a volume has three digits at its end', () => {
  assert.equal(volumeName('a/vm.vma', 7), 'a/vm.vma.007')
  assert.deepEqual(parseVolumeName('a/vm.vma.007'), { base: 'a/vm.vma', number: 7 })
  for (const name of ['vm.vma', 'vm.vma.07', 'vm.vma.0007x', 'a/.000', '.000', 'vm.1000']) {
    assert.equal(parseVolumeName(name), null, name)
  }
})
