import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as compiled from '@node-rs/xxhash'
import { PlainXxh32 } from '../../../src/formats/lz4/xxh32.ts'
import { halfCompressible } from '../../support/content.ts'

test('the plain code gives the checksums of the compiled one, of any length, in any pieces', () => {
  const bytes = halfCompressible(1000)
  for (let length = 0; length <= 100; length++) {
    const plain = new PlainXxh32().update(bytes.subarray(0, length)).digest()
    assert.equal(plain, compiled.xxh32(bytes.subarray(0, length)), `of ${length} bytes`)
  }
  for (const piece of [1, 3, 16, 17, 100]) {
    const plain = new PlainXxh32()
    for (let at = 0; at < bytes.length; at += piece) plain.update(bytes.subarray(at, at + piece))
    assert.equal(plain.digest(), compiled.xxh32(bytes), `in pieces of ${piece} bytes`)
    assert.equal(plain.digest(), compiled.xxh32(bytes), 'asked again')
  }
})
