import assert from 'node:assert/strict'
import { test } from 'node:test'
import { VmapipeError } from '../../src/core/errors.ts'

test('a line says stage, what, where and what to do', () => {
  const details = { stage: 'vma-deframer', drive: 'd', cluster: 3, offset: 512, hint: 'try another' }
  const error = new VmapipeError('DAMAGED', 'a cluster comes twice', details)
  assert.equal(error.line, 'vma-deframer: a cluster comes twice (drive d, cluster 3, byte 512); try another')
})

test('a line stays one line, however long and strange what it quotes', () => {
  const name = `\x1b[2J\n${'x'.repeat(1 << 20)}`
  const { line } = new VmapipeError('DAMAGED', `the name '${name}'`, { drive: name, offset: 7, hint: `not ${name}` })
  assert.ok(line.length < 2500, `${line.length}`)
  assert.match(line, /^the name '\\u\{1b\}\[2J\\u\{a\}x+… \(drive \\u\{1b\}.*x…, byte 7\); not .*…$/)
})
