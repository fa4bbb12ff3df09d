import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { Feeder, type Parser } from '../../src/protocol/feeder.ts'

test('a parser gets the same bytes however the socket cuts them', () => {
  const needs = fc.array(fc.tuple(fc.boolean(), fc.integer({ min: 1, max: 3000 })), { minLength: 1, maxLength: 20 })
  const cuts = fc.array(fc.integer({ min: 1, max: 4000 }), { minLength: 1, maxLength: 20 })
  fc.assert(
    fc.property(needs, cuts, (needs, cuts) => {
      const total = needs.reduce((sum, [, length]) => sum + length, 0)
      const stream = Buffer.from(Array.from({ length: total }, (_, i) => (i * 7 + (i >> 8)) % 256))
      const got: Buffer[] = []
      let ended = false
      function* parser(): Parser {
        for (const [fill, length] of needs) {
          const into = Buffer.alloc(length)
          if (fill) yield into
          else into.set(yield length)
          got.push(into)
        }
        ended = true
      }
      const feeder = new Feeder(parser())
      for (let position = 0, i = 0; position < total; i++) {
        const target = feeder.target()
        const count = Math.min(cuts[i % cuts.length], target.length, total - position)
        assert.ok(count > 0)
        target.set(stream.subarray(position, position + count))
        feeder.received(count)
        position += count
      }
      assert.ok(ended)
      assert.ok(Buffer.concat(got).equals(stream))
    }),
  )
})

test('bytes for a buffer go to it directly', () => {
  const into = Buffer.alloc(100_000)
  function* parser(): Parser {
    yield 4
    yield into
  }
  const feeder = new Feeder(parser())
  feeder.target().fill(1, 0, 4)
  feeder.received(4)
  const target = feeder.target()
  assert.equal(target.buffer, into.buffer)
  assert.equal(target.length, into.length)
})

test('a parser that waits gets nothing until it is woken, and then all that came', () => {
  const got: string[] = []
  let open = false
  function* parser(): Parser {
    for (;;) {
      got.push((yield 2).toString())
      while (!open) yield null
    }
  }
  const feeder = new Feeder(parser())
  const send = (text: string) => {
    const bytes = Buffer.from(text)
    const target = feeder.target()
    assert.ok(target.length >= bytes.length)
    target.set(bytes)
    feeder.received(bytes.length)
  }
  send('aabbc')
  assert.deepEqual(got, ['aa'])
  assert.equal(feeder.isWaiting, true)
  feeder.wake()
  assert.deepEqual(got, ['aa'], 'it looks, and goes on waiting')
  open = true
  // A socket that was paused still has the target that it was given; what it brings after waking goes there.
  const target = feeder.target()
  feeder.wake()
  assert.deepEqual([got, feeder.isWaiting], [['aa', 'bb'], false])
  target.set(Buffer.from('cdd'))
  feeder.received(3)
  assert.deepEqual(got, ['aa', 'bb', 'cc', 'dd'])
})

test('after a large buffer little is read ahead; as much again when more comes at once', () => {
  const large = Buffer.alloc(40_000)
  function* parser(): Parser {
    yield large
    for (;;) yield 1
  }
  const feeder = new Feeder(parser())
  assert.equal(feeder.target().length, large.length)
  feeder.received(large.length)
  const lengths = Array.from({ length: 5 }, () => {
    const { length } = feeder.target()
    feeder.received(length)
    return length
  })
  assert.deepEqual(lengths, [2048, 8192, 32_768, 65_536, 65_536])
})
