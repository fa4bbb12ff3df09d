import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { VmapipeError } from '../../../src/core/errors.ts'
import { Feeder } from '../../../src/protocol/feeder.ts'
import * as nbd from '../../../src/protocol/nbd/constants.ts'
import { type Pending, parseReplies } from '../../../src/protocol/nbd/replies.ts'
import { u16, u32, u64 } from './scripted-server.ts'

const IMAGE = Buffer.from(Array.from({ length: 4000 }, (_, i) => (i % 1000 < 300 ? 0 : (i * 31) % 255)))

interface Plan {
  offset: number
  length: number
  /** Where the reply is cut into chunks. */
  cuts: number[]
  backwards: boolean
}

const plan: fc.Arbitrary<Plan> = fc
  .tuple(fc.nat(3000), fc.integer({ min: 1, max: 900 }), fc.array(fc.nat(900), { maxLength: 6 }), fc.boolean())
  .map(([offset, length, cuts, backwards]) => ({ offset, length, cuts, backwards }))

function pending({ offset, length }: Plan): Pending {
  const into = Buffer.alloc(length, 0xee)
  return { type: nbd.CMD_READ, offset, length, into, coverage: null, extents: null, error: null }
}

/** An honest reply in chunks; those of zeroes are holes. */
function chunks({ offset, length, cuts, backwards }: Plan, low: number): Buffer[] {
  const bounds = [...new Set([0, ...cuts.filter((cut) => cut < length), length])].sort((a, b) => a - b)
  const payloads = bounds.slice(1).map((end, i): [number, Buffer] => {
    const bytes = IMAGE.subarray(offset + bounds[i], offset + end)
    const at = u64(offset + bounds[i])
    return bytes.every((byte) => byte === 0)
      ? [nbd.REPLY_TYPE_OFFSET_HOLE, Buffer.concat([at, u32(bytes.length)])]
      : [nbd.REPLY_TYPE_OFFSET_DATA, Buffer.concat([at, bytes])]
  })
  if (backwards) payloads.reverse()
  return payloads.map(([type, payload], i) => {
    const flags = i === payloads.length - 1 ? nbd.REPLY_FLAG_DONE : 0
    const head = [u32(nbd.STRUCTURED_REPLY_MAGIC), u16(flags), u16(type), u32(0), u32(low), u32(payload.length)]
    return Buffer.concat([...head, payload])
  })
}

/** Feeds the stream in pieces of `step` bytes and gives back who was answered. */
function run(stream: Buffer, requests: Map<number, Pending>, step: number): Set<Pending> {
  const answered = new Set<Pending>()
  const table = {
    find: ({ low }: { low: number }) => requests.get(low),
    done: (request: Pending, { low }: { low: number }) => {
      requests.delete(low)
      answered.add(request)
    },
  }
  const feeder = new Feeder(parseReplies(table, true, 5))
  for (let position = 0; position < stream.length; ) {
    const target = feeder.target()
    const count = Math.min(step, target.length, stream.length - position)
    target.set(stream.subarray(position, position + count))
    feeder.received(count)
    position += count
  }
  return answered
}

/** The chunks of several replies among each other, each reply's in its order. */
function shuffle(lists: Buffer[][], order: number[]): Buffer {
  const queues = lists.map((list) => [...list])
  const out: Buffer[] = []
  for (let i = 0; queues.some((queue) => queue.length > 0); i++) {
    const left = queues.filter((queue) => queue.length > 0)
    out.push(left[(order[i % order.length] ?? 0) % left.length].shift()!)
  }
  return Buffer.concat(out)
}

const scene = fc.record({
  plans: fc.array(plan, { minLength: 1, maxLength: 5 }),
  order: fc.array(fc.nat(10), { minLength: 1, maxLength: 20 }),
  step: fc.integer({ min: 1, max: 3000 }),
})

test('replies in any chunks, mixed and cut anyhow, fill each buffer with what was asked for', () => {
  fc.assert(
    fc.property(scene, ({ plans, order, step }) => {
      const requests = new Map(plans.map((plan, low) => [low, pending(plan)]))
      const all = [...requests.values()]
      const answered = run(shuffle(plans.map(chunks), order), requests, step)
      assert.equal(answered.size, all.length)
      for (const { into, offset, length } of all) {
        assert.ok(IMAGE.subarray(offset, offset + length).equals(into!))
      }
    }),
    { numRuns: 500 },
  )
})

test('flipped bytes give one clear error, a reply that never ends, or other data, and nothing else', () => {
  fc.assert(
    fc.property(
      scene,
      fc.array(fc.tuple(fc.nat(), fc.integer({ min: 1, max: 255 })), { minLength: 1, maxLength: 4 }),
      (scene, flips) => {
        const requests = new Map(scene.plans.map((plan, low) => [low, pending(plan)]))
        const stream = shuffle(scene.plans.map(chunks), scene.order)
        for (const [at, mask] of flips) stream[at % stream.length] ^= mask
        try {
          run(stream, requests, scene.step)
        } catch (error) {
          assert.ok(error instanceof VmapipeError, String(error))
          assert.match(error.line, /does not keep to the protocol/)
        }
      },
    ),
    { numRuns: 1500, interruptAfterTimeLimit: 5000 },
  )
})
