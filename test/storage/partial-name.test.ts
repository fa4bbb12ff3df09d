import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { test } from 'node:test'
import {
  isAttemptAt,
  NAME_MAX,
  parsePartialName,
  partialName,
  SHARED,
  UNLOCKED,
} from '../../src/storage/partial-name.ts'
import { needs } from '../support/tools.ts'

test('two temporary names for one file differ, are hidden, and tell what they are for', () => {
  const names = [1, 2].map(() => partialName(Buffer.from('vm.vma'), SHARED))
  assert.notDeepEqual(names[0], names[1])
  for (const name of names) {
    assert.match(name.toString(), /^\.vm\.vma\.[0-9a-f]{16}-00000000-[0-9a-f]{8}\.partial$/)
    assert.deepEqual(parsePartialName(name), { name: Buffer.from('vm.vma'), place: SHARED })
  }
})

test('a temporary name is never too long for a filesystem, and cut between characters', () => {
  for (const name of ['x'.repeat(255), 'ü'.repeat(127), `x${'ü'.repeat(127)}`, '\u{1f4be}'.repeat(63)]) {
    const partial = partialName(Buffer.from(name), UNLOCKED)
    assert.ok(partial.byteLength <= NAME_MAX && partial.byteLength > NAME_MAX - 4)
    assert.ok(!partial.toString().includes('\ufffd'))
    assert.ok(isAttemptAt(parsePartialName(partial)!, Buffer.from(name)))
  }
})

test('names of any bytes are kept', () => {
  const name = Buffer.from([0xff, 0x0a, 0x2e, 0xe9])
  assert.deepEqual(parsePartialName(partialName(name, SHARED))?.name, name)
})

test('what only looks like a temporary name is none', () => {
  const right = partialName(Buffer.from('vm.vma'), SHARED).toString()
  const wrong = ['.vm.vma.partial', '.vm.vma.host-123.partial', right.slice(1), `${right}~`, right.replace('vm', 'xm')]
  for (let at = 8; at < right.indexOf('.partial'); at++) {
    if (right[at] === '-') continue
    wrong.push(right.slice(0, at) + (right[at] === 'a' ? 'b' : 'a') + right.slice(at + 1))
  }
  for (const name of wrong) assert.equal(parsePartialName(Buffer.from(name)), null, name)
})

test('the checksum is that of cksum', needs('cksum'), () => {
  for (const name of ['vm.vma', 'x'.repeat(300), '\xe9']) {
    const [, start, check] = /^(.*)-(.{8})\.partial$/.exec(partialName(Buffer.from(name), SHARED).toString('latin1'))!
    const { stdout } = spawnSync('cksum', { input: Buffer.from(start, 'latin1'), encoding: 'utf8' })
    assert.equal(Number(stdout.split(' ')[0]), Number.parseInt(check, 16))
  }
})
