import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { type LastUse, type Now, whyForeign } from '../../../src/live/tracking/image-identity.ts'

const MS = 1_000_000n
/** A time, in milliseconds since the epoch. */
const T = 1_700_000_000_000

function image(mtime: number, ctime = mtime) {
  const [m, c] = [mtime, ctime].map((time) => String(BigInt(time) * MS))
  return { device: '1', inode: '2', size: '3', mtime: m, ctime: c }
}

function killed(over: Partial<LastUse> = {}): LastUse {
  return { image: image(T), closed: false, boot: 'x', until: { killed: T + 500, failed: T + 9000 }, ...over }
}

function now(over: Partial<Now> = {}): Now {
  return { image: image(T + 400), boot: 'x', time: T + 60_000, booted: T - 1000, ...over }
}

describe('an image is believed', () => {
  test('closed, if it is as it was', () => {
    assert.equal(whyForeign(killed({ closed: true }), now({ image: image(T) })), null)
    assert.match(whyForeign(killed({ closed: true }), now({ image: image(T, T + 1) }))!, /was changed/)
    assert.match(whyForeign(killed({ closed: true }), now({ image: { ...image(T), inode: '9' } }))!, /replaced/)
    assert.match(whyForeign(killed({ closed: true }), now({ image: { ...image(T), device: '9' } }))!, /replaced/)
    assert.match(whyForeign(killed({ closed: true }), now({ image: { ...image(T), size: '9' } }))!, /resized/)
  })

  test('after a kill, if nothing was written later than the service can have', () => {
    assert.equal(whyForeign(killed(), now()), null)
    assert.match(whyForeign(killed(), now({ image: image(T + 501) }))!, /ended without closing/)
    assert.match(whyForeign(killed(), now({ image: image(T + 400, T + 501) }))!, /ended without closing/)
    assert.equal(whyForeign(killed({ until: { killed: 0, failed: 0 } }), now({ image: image(T) })), null)
    assert.match(whyForeign(killed({ until: { killed: 0, failed: 0 } }), now())!, /ended without closing/)
  })

  test('after a power failure, by what was durable, and if it was written before the system started', () => {
    const later = { boot: 'y', booted: T + 20_000 }
    assert.equal(whyForeign(killed(), now({ ...later, image: image(T + 8000) })), null)
    assert.match(whyForeign(killed(), now({ ...later, image: image(T + 9001) }))!, /ended without closing/)
    const soon = now({ boot: 'y', booted: T + 2000, image: image(T + 3000) })
    assert.match(whyForeign(killed(), soon)!, /after this system had started/)
  })

  test('never if it is older than it was, or the clock is', () => {
    assert.match(whyForeign(killed(), now({ image: image(T - 1) }))!, /older/)
    assert.match(whyForeign(killed(), now({ time: T - 5000 }))!, /clock/)
  })

  test('never if nothing tells who wrote', () => {
    assert.match(whyForeign(killed({ image: null }), now())!, /nothing tells/)
    assert.match(whyForeign(killed(), now({ image: null }))!, /nothing tells/)
  })
})
