/**
 * What every stage keeps, whatever it does: order, an empty input, a slow consumer with bounded bytes in flight, errors
 * from either side, an abort, and that it is closed exactly once.
 */

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { crc32 } from 'node:zlib'
import { VmapipeError } from '../../src/core/errors.ts'
import { Chunk, type Item, Manifest, Range, Run } from '../../src/core/items.ts'
import { definePipeline, type RunOptions } from '../../src/core/pipeline.ts'
import type { BoundStage, StageBody, StageContext } from '../../src/core/stage.ts'
import { bound, collect } from '../support/flow.ts'

/** Small enough that a stage which ignores it is caught. */
const BUFFER = 48 << 20

export interface ContractCase {
  /** The stage, ready to run; called anew for every run. */
  stage(): BoundStage | Promise<BoundStage>
  /** Many items for it, more than fit into the budget; anew for every run. Not for a source. */
  input?(): Item[] | Promise<Item[]>
  /** The error code for an input without any item, for stages that cannot make anything of it. */
  empty?: string
  /** Whether two runs give the same bytes; true unless told otherwise. */
  deterministic?: boolean
  /** Options of every run. */
  options?: RunOptions
}

export function stageContract(
  name: string,
  { stage, input, empty, deterministic = true, options: always = {} }: ContractCase,
): void {
  describe(`${name} keeps the contract of stages`, { timeout: 180_000 }, () => {
    const middle = async () => observed(await stage())
    const run = async (
      { bound: stage }: Observed,
      items: Item[],
      { write = release, atItem = () => {}, ...options }: RunOptions & Hooks = {},
    ) => {
      const { input: kind, output } = stage.definition
      const taken = kind === 'any' ? 'bytes' : kind
      const given = output === 'same' ? taken : output
      const stages = [stage]
      if (kind !== 'nothing') stages.unshift(leasing(items, taken as never, atItem))
      if (given !== 'nothing') stages.push(collect(given as never, [], { write }))
      return definePipeline(stages).run({ buffer: BUFFER, ...always, ...options })
    }

    test('gives the same items in the same order every time, and every lease back', async () => {
      const digests = []
      for (let round = 0; round < 2; round++) {
        const seen: string[] = []
        const { leaked } = await run(await middle(), (await input?.()) ?? [], {
          write: async (item) => void seen.push(digest(item)),
        })
        assert.equal(leaked, 0)
        digests.push(seen)
      }
      if (deterministic) assert.deepEqual(digests[0], digests[1])
    })

    if (input !== undefined) {
      test(empty === undefined ? 'ends when its input is empty' : `says ${empty} when its input is empty`, async () => {
        const outcome = run(await middle(), [])
        if (empty === undefined) await outcome
        else await assert.rejects(outcome, { code: empty })
      })

      test('ends with the error of the stage before it, closed once', async () => {
        const items = await input()
        const watched = await middle()
        const broken = new VmapipeError('FAILED', 'broken before')
        await assert.rejects(run(watched, [...items.slice(0, Math.ceil(items.length / 2)), broken as never]), broken)
        assert.equal(watched.closed(), 1)
      })
    }

    test('holds no more than the budget when what follows is slow', async () => {
      const { highWater } = await run(await middle(), (await input?.()) ?? [], { write: slowly })
      assert.ok(highWater <= BUFFER)
    })

    test('ends with the error of the stage after it, closed once', async () => {
      const watched = await middle()
      if (watched.bound.definition.output === 'nothing') return
      const write = async () => {
        throw new Error('broken after')
      }
      await assert.rejects(run(watched, (await input?.()) ?? [], { write }), { message: 'broken after' })
      assert.equal(watched.closed(), 1)
    })

    test('ends when another stage cannot be opened, before it or after it, closed once', async () => {
      for (const isBefore of [true, false]) {
        const watched = await middle()
        const { input: kind, output } = watched.bound.definition
        if (kind === 'nothing' && isBefore) continue
        const taken = kind === 'any' ? 'bytes' : kind
        const given = output === 'same' ? taken : output
        const broken = { open: async () => Promise.reject(new Error('cannot be opened')) }
        const source = { read: async () => null, ...(isBefore && broken) }
        const sink = { write: async () => {}, ...(!isBefore && broken) }
        const stages = [watched.bound]
        if (kind !== 'nothing')
          stages.unshift(bound({ name: 'source', input: 'nothing', output: taken, create: () => source }))
        if (given !== 'nothing')
          stages.push(bound({ name: 'sink', input: given, output: 'nothing', create: () => sink }))
        else if (!isBefore) continue
        await assert.rejects(definePipeline(stages).run({ buffer: BUFFER }), { message: 'cannot be opened' })
        assert.equal(watched.closed(), 1)
      }
    })

    test('ends when aborted, closed once', async () => {
      const watched = await middle()
      const controller = new AbortController()
      const items = (await input?.()) ?? []
      const write = async () => {
        controller.abort()
        await sleep(1)
      }
      // A sink has nobody after it to see an item.
      const atItem = (index: number) =>
        index === 2 && watched.bound.definition.output === 'nothing' && controller.abort()
      await assert.rejects(run(watched, items, { write, atItem, signal: controller.signal }), { code: 'ABORTED' })
      assert.equal(watched.closed(), 1)
    })
  })
}

interface Hooks {
  /** What the consumer does with an item; it releases it at once unless told otherwise. */
  write?(item: Item): void | Promise<void>
  /** Before the source gives an item. */
  atItem?(index: number): unknown
}

function release(item: Item): void {
  item.release()
}

async function slowly(item: Item): Promise<void> {
  await sleep(2)
  item.release()
}

interface Observed {
  bound: BoundStage
  closed(): number
}

/** The same stage, whose closing is counted. A pure step has nothing to close: it counts as closed. */
function observed(stage: BoundStage): Observed {
  let closed = 0
  const create = (options: never, context: StageContext): StageBody => {
    const body = stage.definition.create(options, context)
    if (typeof body === 'function') {
      closed = 1
      return body
    }
    const hooks = body as { close?(error: Error | null): unknown }
    const close = hooks.close?.bind(body)
    hooks.close = async (error) => {
      closed++
      await close?.(error)
    }
    return body
  }
  const definition = { ...stage.definition, create }
  return { bound: { ...stage, definition }, closed: () => closed }
}

/** A source whose items lie in leased memory, as those of real sources do; an error among the items is thrown. */
function leasing(
  items: Item[],
  output: 'bytes' | 'clusters' | 'ranges',
  atItem: (index: number) => unknown,
): BoundStage {
  return bound({
    name: 'leasing',
    input: 'nothing',
    output,
    create: (_, { budget }: StageContext) =>
      (async function* () {
        for (const [index, item] of items.entries()) {
          atItem(index)
          if (item instanceof Error) throw item
          yield await leased(item, budget)
        }
      })(),
  })
}

async function leased(item: Item, budget: StageContext['budget']): Promise<Item> {
  const data = dataOf(item)
  if (data.length === 0) return item
  const slab = await budget.take(data.length)
  data.copy(slab.buffer)
  if (item instanceof Chunk) return new Chunk([slab.buffer], [slab])
  if (item instanceof Run) return new Run(item.drive, item.first, item.count, [slab.buffer], item.masks, [slab])
  if (item instanceof Range) return new Range(item.drive, item.offset, item.length, [slab.buffer], [slab])
  return item
}

function dataOf(item: Item): Buffer {
  if (item instanceof Manifest) return Buffer.alloc(0)
  const views = item instanceof Chunk ? item.buffers : item instanceof Run ? item.blocks : (item.data ?? [])
  return Buffer.concat(views)
}

/** What the item is, in a few characters; gives the item back. */
function digest(item: Item): string {
  const data = dataOf(item)
  const sum = data.length === 0 ? 0 : crc32(data)
  item.release()
  if (item instanceof Run) return `run ${item.drive} ${item.first} ${item.count} ${sum}`
  if (item instanceof Range) return `range ${item.drive} ${item.offset} ${item.length} ${sum}`
  return `${item.kind} ${data.length} ${sum}`
}
