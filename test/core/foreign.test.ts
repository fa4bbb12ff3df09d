import assert from 'node:assert/strict'
import { type Duplex, PassThrough, Transform } from 'node:stream'
import {
  CompressionStream,
  DecompressionStream,
  ReadableStream,
  TransformStream,
  WritableStream,
} from 'node:stream/web'
import { describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { createGunzip, createGzip, gunzipSync } from 'node:zlib'
import chain from 'stream-chain'
import gen from 'stream-chain/gen.js'
import type { ForeignStage } from '../../src/core/foreign.ts'
import { Chunk, type Item, Run } from '../../src/core/items.ts'
import { toNodeStream, toWebStream } from '../../src/core/node-stream.ts'
import { definePipeline } from '../../src/core/pipeline.ts'
import type { BoundStage, StageContext } from '../../src/core/stage.ts'
import { many, none, stepWithFlush } from '../../src/core/steps.ts'
import { compressor } from '../../src/stages/compressor.ts'
import { sink } from '../../src/stages/sink.ts'
import { source } from '../../src/stages/source.ts'
import { zeroElider } from '../../src/stages/zero-elider.ts'
import { bound, collect, itemsOf, manifestOf } from '../support/flow.ts'

const timeout = 240_000
const chunk = (letter: string) => new Chunk([Buffer.from(letter)])
const text = (items: Item[]) => items.map((item) => Buffer.concat((item as Chunk).buffers).toString()).join('')
const upper = (bytes: Uint8Array) => Buffer.from(Buffer.from(bytes).toString().toUpperCase())

async function through(stages: readonly ForeignStage[], letters = 'abc'): Promise<string> {
  const out: Item[] = []
  const list = [itemsOf('bytes', [...letters].map(chunk)), ...stages, collect('bytes', out)]
  await definePipeline(list as never).run()
  return text(out)
}

/** Stages of others that make capitals, each anew. */
const kinds: { [name: string]: () => ForeignStage } = {
  'a Node Transform': () => new Transform({ transform: (data, _, done) => done(null, upper(data)) }),
  'a Node Transform in object mode': () =>
    new Transform({
      objectMode: true,
      transform: (item: Chunk, _, done) => done(null, chunk(text([item]).toUpperCase())),
    }),
  'a web TransformStream': () =>
    new TransformStream({ transform: (data: Uint8Array, controller) => controller.enqueue(upper(data)) }),
  'an async generator function': () =>
    async function* (items: AsyncIterable<Chunk>) {
      for await (const item of items) {
        item.release()
        yield upper(Buffer.concat(item.buffers))
      }
    },
  'a step': () => (item: Chunk) => upper(item.buffers[0]),
  'an async step': () => async (item: Chunk) => (await sleep(1), upper(item.buffers[0])),
  'a generator for each item': () =>
    function* (item: Chunk) {
      yield upper(item.buffers[0])
    },
  'a stream of stream-chain': () => chain([(item: Chunk) => upper(item.buffers[0])] as never) as unknown as Duplex,
  'a function list of stream-chain': () =>
    (gen as unknown as (...steps: unknown[]) => ForeignStage)(
      (item: Chunk) => text([item]),
      (letter: string) => upper(Buffer.from(letter)),
    ),
}

describe('a stage of others in a pipeline', { timeout }, () => {
  for (const [name, stage] of Object.entries(kinds)) {
    test(`${name} takes and gives bytes, in order`, async () => {
      assert.equal(await through([stage()]), 'ABC')
    })

    test(`${name} ends with an empty input`, async () => {
      assert.equal(await through([stage()], ''), '')
    })

    test(`${name} is held back by a slow sink, and gives every lease back`, async () => {
      let taken = 0
      let given = 0
      let ahead = 0
      const count = 80
      const leasing = bound({
        name: 'leasing',
        input: 'nothing',
        output: 'bytes',
        create: (_, { budget }: StageContext) => ({
          read: async () => {
            if (given === count) return null
            given++
            ahead = Math.max(ahead, given - taken)
            const slab = await budget.take(1 << 20)
            slab.buffer.fill('a')
            return new Chunk([slab.buffer], [slab])
          },
        }),
      })
      let bytes = 0
      const slow = collect('bytes', [], {
        write: async (item) => {
          await sleep(2)
          bytes += (item as Chunk).byteLength
          taken = Math.floor(bytes / (1 << 20))
          item.release()
        },
      })
      // A step gives copies of what it takes: it ends the leases that it does not pass on.
      const released = (item: Chunk) => {
        const copy = Buffer.concat(item.buffers)
        item.release()
        return new Chunk([copy])
      }
      const { leaked } = await definePipeline([leasing, released, stage(), slow] as never).run({ buffer: 16 << 20 })
      assert.equal(leaked, 0)
      // Node keeps 16 items in a stream in object mode.
      assert.ok(ahead <= 48, `${ahead} items of 1 MiB were between source and sink`)
    })

    test(`${name} ends when the sink fails, and when the run is aborted`, async () => {
      const endless = itemsOf('bytes', forever())
      const broken = collect('bytes', [], { write: async () => Promise.reject(new Error('broken after')) })
      await assert.rejects(definePipeline([endless, stage(), broken] as never).run(), { message: 'broken after' })
      const controller = new AbortController()
      setTimeout(() => controller.abort(), 20)
      const waiting = itemsOf('bytes', never(controller.signal))
      const run = definePipeline([waiting, stage(), collect('bytes', [])] as never).run({ signal: controller.signal })
      await assert.rejects(run, { code: 'ABORTED' })
    })

    test(`${name} ends when the source fails`, async () => {
      const failing = itemsOf(
        'bytes',
        (async function* () {
          yield chunk('a')
          throw new Error('broken before')
        })(),
      )
      const run = definePipeline([failing, stage(), collect('bytes', [])] as never).run()
      await assert.rejects(run, { message: 'broken before' })
    })
  }

  for (const [name, stage] of Object.entries({
    'a Node Transform': () => new Transform({ transform: (_data, _, done) => done(new Error('broken')) }),
    'a Node Transform between two items': () => {
      const stream = new PassThrough()
      setTimeout(() => stream.destroy(new Error('broken')), 20)
      return stream
    },
    'a web TransformStream': () =>
      new TransformStream({
        transform() {
          throw new Error('broken')
        },
      }),
    'an async generator function': () =>
      // biome-ignore lint/correctness/useYield: it fails before
      async function* () {
        throw new Error('broken')
      },
    'a step': () => () => {
      throw new Error('broken')
    },
  } as { [name: string]: () => ForeignStage })) {
    test(`${name} that fails ends the run with its error`, async () => {
      const run = definePipeline([itemsOf('bytes', forever(5)), stage(), collect('bytes', [])] as never).run()
      await assert.rejects(run, { message: 'broken', code: 'FAILED' })
    })
  }

  test('may give nothing, several, and something at the end', async () => {
    const doubled = (item: Chunk) => (text([item]) === 'b' ? none : many([item, item]))
    const last = stepWithFlush(
      (item: Chunk) => item,
      () => chunk('!'),
    )
    const nothing = (item: Chunk) => (text([item]) === 'c' ? undefined : item)
    assert.equal(await through([doubled, nothing, last]), 'aa!')
    async function* summed(items: AsyncIterable<Chunk>) {
      let length = 0
      for await (const item of items) length += item.byteLength
      yield Buffer.from(String(length))
    }
    assert.equal(await through([summed]), '3')
  })

  test('may leave the rest of its input', async () => {
    async function* first(items: AsyncIterable<Chunk>) {
      for await (const item of items) {
        yield item
        return
      }
    }
    assert.equal(await through([first], 'abcdefgh'.repeat(50)), 'a')
  })

  test('of any form stand beside each other: two compress, two unpack', async () => {
    const bytes = 'some text, more than once. '.repeat(40)
    const stages = [createGzip(), new CompressionStream('deflate'), new DecompressionStream('deflate'), createGunzip()]
    assert.equal(await through(stages, bytes), bytes)
  })

  test('takes and gives items where clusters flow', async () => {
    const out: Item[] = []
    const run = () => new Run(1, 0, 1, [Buffer.alloc(65536, 1)])
    const items = () => itemsOf('clusters', [manifestOf(65536), run()])
    const web = new TransformStream()
    const node = new PassThrough({ objectMode: true })
    await definePipeline([
      items(),
      web,
      node,
      zeroElider(),
      (item: Run) => item,
      collect('clusters', out),
    ] as never).run()
    assert.deepEqual(
      out.map(({ kind }) => kind),
      ['manifest', 'run'],
    )
    await assert.rejects(definePipeline([items(), new PassThrough(), collect('clusters', [])] as never).run(), {
      code: 'STAGE',
      stage: 'PassThrough',
      hint: /objectMode/,
    })
  })

  test('that gives something else is named', async () => {
    await assert.rejects(through([(() => 'text') as never]), { code: 'STAGE', message: /gave a value of type string/ })
    const named = new TransformStream({ transform: (_, controller) => controller.enqueue({ a: 1 }) })
    await assert.rejects(through([named]), { code: 'STAGE', stage: 'TransformStream', message: /no item/ })
  })

  test('fits as far as the compiler knows: it gives the kind of items that it takes', () => {
    async function* same(items: AsyncIterable<Chunk>) {
      yield* items
    }
    const step = (item: Chunk) => item
    const web = new CompressionStream('gzip')
    const good = definePipeline([source({ from: 'x' }), createGzip(), step, same, web, sink({ to: 'y' })])
    assert.equal(good.stages.length, 6)
    assert.equal(definePipeline([step, createGzip()]).output, 'bytes')
    // @ts-expect-error: zero-elider takes clusters, a stream or function gives bytes
    assert.throws(() => definePipeline([source({ from: 'x' }), createGzip(), zeroElider()]), { code: 'USAGE' })
    // @ts-expect-error: a factory that is not called is no stage
    assert.throws(() => definePipeline([source({ from: 'x' }), compressor, sink({ to: 'y' })]), { code: 'USAGE' })
  })

  test('is refused if it is none, or was used before', async () => {
    assert.throws(() => definePipeline([zeroElider as never]), { code: 'USAGE', hint: /must be called/ })
    assert.throws(() => definePipeline([null as never]), { code: 'USAGE', message: /null/ })
    const stream = new PassThrough()
    const pipeline = () => definePipeline([itemsOf('bytes', [chunk('a')]), stream, collect('bytes', [])])
    await pipeline().run()
    await assert.rejects(pipeline().run(), { code: 'USAGE', message: /used already/ })
  })
})

async function partsOf(readable: ReadableStream): Promise<Uint8Array[]> {
  const parts: Uint8Array[] = []
  for await (const part of readable) parts.push(part)
  return parts
}

async function* forever(ms = 0): AsyncGenerator<Chunk> {
  for (;;) {
    await sleep(ms)
    yield chunk('a')
  }
}

// biome-ignore lint/correctness/useYield: it never gives anything
async function* never(signal: AbortSignal): AsyncGenerator<Chunk> {
  await sleep(60_000, undefined, { signal })
}

/** A pipeline of a step, a transform and a step, which counts how often each stage is made. */
function open(made: string[]): BoundStage[] {
  const note = <T>(name: string, body: T) => (made.push(name), body)
  return [
    bound({ name: 'a', input: 'bytes', output: 'bytes', create: () => note('a', (item: Chunk) => item) }),
    bound({
      name: 'b',
      input: 'bytes',
      output: 'bytes',
      create: () =>
        note('b', {
          transform: (item: Chunk, push: (item: Chunk) => void) => push(new Chunk([upper(item.buffers[0])])),
        }),
    }),
  ]
}

describe('a pipeline as a stream', { timeout }, () => {
  test('of Node makes each stage once', async () => {
    const made: string[] = []
    const stream = toNodeStream(definePipeline(open(made)))
    stream.end('abc')
    assert.equal((await stream.toArray()).join(''), 'ABC')
    assert.deepEqual(made, ['a', 'b'])
  })

  for (const [how, stages] of Object.entries({ steps: () => open([]).slice(0, 1), transforms: () => open([]) })) {
    test(`of Node heeds its signal, with ${how}`, async () => {
      const controller = new AbortController()
      const stream = toNodeStream(definePipeline(stages()), { signal: controller.signal })
      stream.write('abc')
      setTimeout(() => controller.abort(), 20)
      await assert.rejects(stream.toArray(), { code: 'ABORTED' })
      assert.ok(stream.destroyed)
    })
  }

  test('of Node fails with the error of a stage while it waits for input', async () => {
    const late = bound({
      name: 'late',
      input: 'bytes',
      output: 'bytes',
      create: () => async () => {
        await sleep(20)
        throw new Error('broken')
      },
    })
    const stream = toNodeStream(definePipeline([late]))
    stream.write('abc')
    await assert.rejects(stream.toArray(), { message: 'broken', stage: 'late' })
  })

  test('of Node is refused for a pipeline without an open end', () => {
    assert.throws(() => toNodeStream(definePipeline([itemsOf('bytes', []), collect('bytes', [])])), { code: 'USAGE' })
  })

  test('of the web goes through pipeThrough', async () => {
    const made: string[] = []
    const input = new ReadableStream({
      start(controller) {
        for (const letter of 'abc') controller.enqueue(Buffer.from(letter))
        controller.close()
      },
    })
    const parts: Uint8Array[] = []
    for await (const part of input.pipeThrough(toWebStream(definePipeline(open(made))))) parts.push(part)
    assert.equal(Buffer.concat(parts).toString(), 'ABC')
    assert.deepEqual(made, ['a', 'b'])
  })

  test('of the web has one side if the other end is closed', async () => {
    const from = toWebStream(definePipeline([itemsOf('bytes', [chunk('a')])]))
    assert.equal(Buffer.concat(await partsOf(from.readable)).toString(), 'a')
    assert.throws(() => from.writable, { code: 'USAGE' })
    const out: Item[] = []
    let isDurable = false
    const final = async () => {
      await sleep(20)
      isDurable = true
    }
    const to = toWebStream(definePipeline([collect('bytes', out, { final })]))
    const writer = to.writable.getWriter()
    await writer.write(Buffer.from('x'))
    await writer.close()
    assert.ok(isDurable, 'close waits for the sink')
    assert.equal(text(out), 'x')
    assert.throws(() => to.readable, { code: 'USAGE' })
  })

  test('of the web gives errors to both sides, and ends when it is cancelled', async () => {
    const broken = bound({
      name: 'broken',
      input: 'bytes',
      output: 'bytes',
      create: () => () => {
        throw new Error('broken')
      },
    })
    const { readable, writable } = toWebStream(definePipeline([broken]))
    const writer = writable.getWriter()
    writer.closed.catch(() => {})
    writer.write(Buffer.from('a')).catch(() => {})
    await assert.rejects(partsOf(readable), { message: 'broken' })
    let closed = 0
    const endless = bound({
      name: 'endless',
      input: 'nothing',
      output: 'bytes',
      create: () => ({ read: async () => (await sleep(1), chunk('a')), close: () => void closed++ }),
    })
    const { readable: cancelled } = toWebStream(definePipeline([endless]))
    const reader = cancelled.getReader()
    await reader.read()
    await reader.cancel()
    while (closed === 0) await sleep(1)
    assert.equal(closed, 1)
  })

  test('of the web holds back what a slow reader does not take', async () => {
    let made = 0
    const endless = bound({
      name: 'endless',
      input: 'nothing',
      output: 'bytes',
      create: () => ({ read: async () => (made++, await sleep(0), new Chunk([Buffer.alloc(1 << 20)])) }),
    })
    const { readable } = toWebStream(definePipeline([endless]))
    const reader = readable.getReader()
    await reader.read()
    await sleep(200)
    assert.ok(made < 10, `${made}`)
    await reader.cancel()
  })
})

describe('web streams', { timeout }, () => {
  const letters = () =>
    new ReadableStream({
      start(controller) {
        controller.enqueue(new Uint8Array(Buffer.from('abc')))
        controller.close()
      },
    })

  test('are what a source reads and a sink writes', async () => {
    const parts: Uint8Array[] = []
    let isClosed = false
    const to = new WritableStream<Uint8Array>({
      write: async (part) => {
        await sleep(1)
        parts.push(part.slice())
      },
      close: async () => {
        await sleep(20)
        isClosed = true
      },
    })
    await definePipeline([source({ from: letters() }), createGzip(), sink({ to })]).run()
    assert.ok(isClosed)
    assert.equal(gunzipSync(Buffer.concat(parts)).toString(), 'abc')
  })

  test('fail the run if they fail, and are ended if it fails', async () => {
    const failing = new ReadableStream({ pull: (controller) => controller.error(new Error('broken')) })
    await assert.rejects(definePipeline([source({ from: failing }), collect('bytes', [])]).run(), {
      message: /broken/,
      stage: 'source',
    })
    const to = new WritableStream({ write: async () => Promise.reject(new Error('full')) })
    await assert.rejects(definePipeline([itemsOf('bytes', [chunk('a')]), sink({ to })]).run(), {
      message: /full/,
      stage: 'sink',
    })
    let reason: unknown
    let cancelled: unknown
    const aborted = new WritableStream({
      abort(why) {
        reason = why
      },
    })
    const endless = new ReadableStream({
      pull: (controller) => controller.enqueue(Buffer.alloc(10)),
      cancel(why) {
        cancelled = why ?? 'cancelled'
      },
    })
    const broken = (item: Chunk) => {
      item.release()
      throw new Error('broken')
    }
    const run = definePipeline([source({ from: endless }), broken, sink({ to: aborted })]).run()
    await assert.rejects(run, { message: 'broken', stage: 'broken' })
    await sleep(10)
    assert.ok(reason !== undefined, 'the target was aborted')
    assert.ok(cancelled !== undefined, 'the source was cancelled')
  })
})
