import assert from 'node:assert/strict'
import { test } from 'node:test'
import { nearest } from '../../src/core/suggest.ts'

test('a slip of the fingers is understood, another word is not', () => {
  const names = ['zero-elider', 'compressor', 'sink', 'source']
  assert.equal(nearest('compresor', names), 'compressor')
  assert.equal(nearest('Zero_Elider', names), 'zero-elider')
  assert.equal(nearest('snik', names), 'sink')
  assert.equal(nearest('encryptor', names), undefined)
  assert.equal(nearest('x', ['a', 'b']), undefined)
})
