import assert from 'node:assert/strict'
import { Readable, Writable } from 'node:stream'
import { describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { VmapipeError } from '../../src/core/errors.ts'
import { Chunk, type Item } from '../../src/core/items.ts'
import { definePipeline } from '../../src/core/pipeline.ts'
import { defineStage, type SinkBody, type StageContext, type TransformBody, z } from '../../src/core/stage.ts'
import { many, none, stepWithFlush } from '../../src/core/steps.ts'
import { bound, collect, itemsOf, through } from '../support/flow.ts'

const timeout = 60_000
const letters = () => ['a', 'b', 'c'].map((letter) => new Chunk([Buffer.from(letter)]))
const text = (items: Item[]) => items.map((item) => Buffer.concat((item as Chunk).buffers).toString()).join('')
const step = (name: string, create: (options: unknown, context: StageContext) => unknown) =>
  bound({ name, input: 'bytes', output: 'bytes', create })
const chunk = (letter: string) => new Chunk([Buffer.from(letter)])

describe('definePipeline', { timeout }, () => {
  const clusters = bound({ name: 'clusters-only', input: 'clusters', output: 'clusters', create: () => (x: Item) => x })
  const bytes = step('bytes-only', () => (x: Item) => x)

  test('refuses neighbours that do not fit, and says what would', () => {
    assert.throws(() => definePipeline([clusters, bytes]), {
      code: 'USAGE',
      line: 'bytes-only: stage 2 takes bytes, clusters-only gives clusters; vma-framer makes bytes of clusters',
    })
    assert.throws(() => definePipeline([bytes, itemsOf('bytes', [])]), {
      code: 'USAGE',
      line: /a source can only come first/,
    })
    assert.throws(() => definePipeline([]), { code: 'USAGE' })
  })

  test('does not run what is open at an end', () => {
    assert.throws(() => definePipeline([itemsOf('bytes', []), bytes]).run(), { code: 'USAGE', message: /does not end/ })
    assert.throws(() => definePipeline([bytes, collect('bytes', [])]).run(), {
      code: 'USAGE',
      message: /does not begin/,
    })
  })

  test('lets a stage that takes anything pass on what it takes', () => {
    const tap = bound({ name: 'tap', input: 'any', output: 'same', create: () => (x: Item) => x })
    assert.equal(definePipeline([itemsOf('ranges', []), tap]).output, 'ranges')
  })

  test('checks options where the stage is made', () => {
    const stage = defineStage({
      name: 'picky',
      summary: '',
      input: 'bytes',
      output: 'bytes',
      options: z.strictObject({ level: z.int().max(9) }),
      create: () => (x) => x,
    })
    assert.throws(() => stage({ level: 10 }), { code: 'USAGE', stage: 'picky', message: /^option level: / })
  })
})

describe('the runner', { timeout }, () => {
  test('carries items through steps of every form, in order', async () => {
    const stages = [
      step('plain', () => (item: Chunk) => item),
      step('twice', () => (item: Chunk) => many([item, item])),
      step(
        'generator',
        () =>
          function* (item: Chunk) {
            yield item
            yield chunk('-')
          },
      ),
      step('promise', () => async (item: Chunk) => (await sleep(1), item)),
      step('drop', () => (item: Chunk) => (text([item]) === 'b' ? none : item)),
      step('flush', () =>
        stepWithFlush(
          (item: Chunk) => item,
          () => chunk('!'),
        ),
      ),
    ]
    assert.equal(text(await through('bytes', letters(), stages)), 'a-a---c-c-!')
  })

  test('carries items through transforms, and through Node streams of a stranger', async () => {
    const upper = step(
      'upper',
      (): TransformBody<Chunk, Chunk> => ({
        async transform(item, push) {
          await sleep(1)
          push(chunk(text([item]).toUpperCase()))
        },
        flush: (push) => push(chunk('.')),
      }),
    )
    const source = bound({ name: 'node', input: 'nothing', output: 'bytes', create: () => Readable.from(letters()) })
    const out: Item[] = []
    const sink = bound({
      name: 'node-sink',
      input: 'bytes',
      output: 'nothing',
      create: () => new Writable({ objectMode: true, write: (item, _, done) => (out.push(item), done()) }),
    })
    await definePipeline([source, upper, sink]).run()
    assert.equal(text(out), 'ABC.')
  })

  test('carries items without a byte, also behind others that wait', async () => {
    const doubled = step('doubled', () => ({
      transform(item: Chunk, push: (chunk: Chunk) => void) {
        push(item)
        push(new Chunk([]))
      },
    }))
    assert.equal((await through('bytes', letters(), [doubled])).length, 6)
  })

  test('opens all stages before anything flows, and closes each once', async () => {
    const seen: string[] = []
    const note = (name: string) =>
      step(name, () => ({
        open: async () => (await sleep(2), seen.push(`open ${name}`)),
        transform: (item: Chunk, push: (item: Chunk) => void) => (seen.push(name), push(item)),
        close: async (error: Error | null) => (await sleep(2), seen.push(`close ${name} ${error}`)),
      }))
    await through('bytes', [chunk('a')], [note('one'), note('two')])
    assert.deepEqual(seen.slice(0, 4), ['open one', 'open two', 'one', 'two'])
    assert.deepEqual(seen.slice(4).sort(), ['close one null', 'close two null'])
  })

  for (const [how, body] of Object.entries({
    'a step that throws': () => () => {
      throw new Error('broken')
    },
    'a step that rejects': () => async () => {
      await sleep(1)
      throw new Error('broken')
    },
    'a generator that throws': () =>
      function* () {
        yield chunk('x')
        throw new Error('broken')
      },
    'a transform that throws': () => ({
      transform() {
        throw new Error('broken')
      },
    }),
    'a transform that rejects': () => ({ transform: async () => Promise.reject(new Error('broken')) }),
    'a flush that rejects': () => ({ transform() {}, flush: async () => Promise.reject(new Error('broken')) }),
    'an open that rejects': () => ({ transform() {}, open: async () => Promise.reject(new Error('broken')) }),
    'a close that rejects': () => ({ transform() {}, close: async () => Promise.reject(new Error('broken')) }),
    'a create that throws': () => {
      throw new Error('broken')
    },
  })) {
    test(`${how} ends the run with the name of its stage, and everything is closed once`, async () => {
      const closed: string[] = []
      const note = (name: string) =>
        step(name, () => ({
          transform: (item: Chunk, push: (item: Chunk) => void) => push(item),
          close: () => void closed.push(name),
        }))
      const stages = [note('before'), step('culprit', body), note('after')]
      await assert.rejects(through('bytes', letters(), stages), (error: VmapipeError) => {
        assert.equal(error.stage, 'culprit')
        assert.equal(error.message, 'broken')
        return true
      })
      // What is behind it was not made yet.
      if (how.startsWith('a create')) assert.deepEqual(closed, ['before'])
      else assert.deepEqual(closed.sort(), ['after', 'before'])
    })
  }

  test('blames the right one of two steps', async () => {
    const fine = step('fine', () => (item: Chunk) => item)
    const bad = step('bad', () => () => {
      throw new Error('broken')
    })
    await assert.rejects(through('bytes', letters(), [fine, bad]), { stage: 'bad' })
    await assert.rejects(through('bytes', letters(), [bad, fine]), { stage: 'bad' })
  })

  test('final is not called when a stage before the sink fails at its end', async () => {
    let finals = 0
    const late = step('late', () =>
      stepWithFlush(
        (item: Chunk) => item,
        () => {
          throw new Error('too late')
        },
      ),
    )
    const sink = collect('bytes', [], { final: () => void finals++ })
    await assert.rejects(definePipeline([itemsOf('bytes', letters()), late, sink]).run(), { stage: 'late' })
    assert.equal(finals, 0)
  })

  test('an abort ends stages that wait, and is reported as such', async () => {
    const controller = new AbortController()
    const stuck = step('stuck', (_, { signal }) => ({ transform: () => sleep(60_000, undefined, { signal }) }))
    setTimeout(() => controller.abort(), 20)
    await assert.rejects(through('bytes', letters(), [stuck], { signal: controller.signal }), { code: 'ABORTED' })
  })

  test('an abort ends stages that wait for budget', async () => {
    const controller = new AbortController()
    const greedy = step(
      'greedy',
      (_, { budget }) =>
        async (item: Chunk) => (await budget.take(700), item),
    )
    setTimeout(() => controller.abort(), 20)
    await assert.rejects(through('bytes', letters(), [greedy], { signal: controller.signal, buffer: 1000 }), {
      code: 'ABORTED',
    })
  })

  test('does not run when aborted before', async () => {
    await assert.rejects(
      through('bytes', letters(), [step('x', () => (i: Chunk) => i)], { signal: AbortSignal.abort() }),
      {
        code: 'ABORTED',
      },
    )
  })

  test('a slow sink holds back the source', async () => {
    let made = 0
    let taken = 0
    let most = 0
    const source = (function* () {
      for (let i = 0; i < 50; i++) {
        most = Math.max(most, ++made - taken)
        yield new Chunk([Buffer.alloc(1 << 20)])
      }
    })()
    const write: SinkBody['write'] = async () => {
      await sleep(1)
      taken++
    }
    await definePipeline([
      itemsOf('bytes', source),
      step('x', () => (i: Chunk) => i),
      collect('bytes', [], { write }),
    ]).run()
    assert.ok(most <= 8, `${most} items of 1 MiB were between source and sink`)
  })
})

describe('a stage that surrounds its pipeline', { timeout }, () => {
  /** Gives the letters, between two lines of a log. */
  function surrounding(log: string[], failing = false) {
    return defineStage({
      name: 'surrounding',
      summary: 'for a test',
      input: 'nothing',
      output: 'bytes',
      options: z.strictObject({}),
      misplaced: (_, stages) => (stages.length > 2 ? { message: 'wants nothing between', hint: 'take it out' } : null),
      create: () => assert.fail('it is not made'),
      async around(_, run) {
        log.push('begin')
        run.inform('told')
        try {
          if (failing) throw new VmapipeError('FAILED', 'no guest')
          return await run.run([itemsOf('bytes', letters()), ...run.stages.slice(1)], run.signal)
        } finally {
          log.push('end')
        }
      },
    })()
  }

  test('runs others in its place, and has the first word and the last', async () => {
    const [log, items]: [string[], Item[]] = [[], []]
    const sink = collect('bytes', items, { write: async () => void log.push('item') })
    const inform = (line: string) => void log.push(line)
    await definePipeline([surrounding(log), sink]).run({ inform })
    assert.deepEqual(log, ['begin', 'told', 'item', 'item', 'item', 'end'])
  })

  test('ends the run by its error, and by that of another stage', async () => {
    const log: string[] = []
    await assert.rejects(definePipeline([surrounding(log, true), collect('bytes', [])]).run(), /no guest/)
    const failing = collect('bytes', [], { write: () => Promise.reject(new Error('full')) })
    await assert.rejects(definePipeline([surrounding(log), failing]).run(), /full/)
    assert.deepEqual(log, ['begin', 'end', 'begin', 'end'])
  })

  test('is ended by an abort', async () => {
    const [log, controller]: [string[], AbortController] = [[], new AbortController()]
    const aborting = collect('bytes', [], { write: async () => controller.abort() })
    const run = definePipeline([surrounding(log), aborting]).run({ signal: controller.signal })
    await assert.rejects(run, { code: 'ABORTED' })
    assert.deepEqual(log, ['begin', 'end'])
  })

  test('says where it cannot be', () => {
    const between = step('between', () => (x: Item) => x)
    assert.throws(() => definePipeline([surrounding([]), between, collect('bytes', [])]), {
      code: 'USAGE',
      line: 'surrounding: wants nothing between; take it out',
    })
  })
})
