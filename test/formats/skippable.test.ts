import assert from 'node:assert/strict'
import { test } from 'node:test'
import { encodeSkippableHeader, skippableLength } from '../../src/formats/skippable.ts'

test('a skippable frame has a magic number, its length, and any bytes', () => {
  assert.equal(encodeSkippableHeader(0x0102).toString('hex'), '562a4d1802010000')
  assert.equal(skippableLength(Buffer.from('502a4d18ffffffff', 'hex')), 8 + 0xffffffff)
})
