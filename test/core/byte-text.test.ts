import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { bytesOf, textOf } from '../../src/core/byte-text.ts'
import { printable } from '../../src/core/errors.ts'

test('text of bytes that are no UTF-8 keeps every byte', () => {
  const latin1 = Buffer.from('platte-\xe4', 'latin1')
  assert.equal(textOf(latin1), 'platte-\udce4')
  assert.deepEqual(bytesOf('platte-\udce4'), latin1)
  assert.equal(textOf(Buffer.from('größe 😀')), 'größe 😀')
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
      assert.deepEqual(bytesOf(textOf(Buffer.from(bytes))), Buffer.from(bytes))
    }),
  )
})

test('surrogates that are encoded as UTF-8 are kept as the three bytes that they are', () => {
  const bytes = Buffer.from('eda080edb3a4', 'hex')
  assert.deepEqual(bytesOf(textOf(bytes)), bytes)
})

test('such a byte is shown with its number', () => {
  assert.equal(printable('platte-\udce4 \ud800'), 'platte-\\xe4 \\u{d800}')
  assert.equal(printable('größe 😀'), 'größe 😀')
})
