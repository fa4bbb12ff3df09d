/** Runs stages on items that a test makes, and gives the items that come out. */

import { Chunk, type Item, type Kind, Manifest } from '../../src/core/items.ts'
import { definePipeline, type RunOptions } from '../../src/core/pipeline.ts'
import { type BoundStage, defineStage, type SinkBody, type SourceBody, z } from '../../src/core/stage.ts'

const any = z.any()

/** A source stage that gives these items, each made when it is asked for. */
export function itemsOf(output: Kind, items: Iterable<Item> | AsyncIterable<Item>): BoundStage {
  return bound({
    name: 'items',
    input: 'nothing',
    output,
    create: () =>
      (async function* () {
        yield* items
      })(),
  })
}

/** A sink stage that keeps what comes; `write` may look at each item, or wait. */
export function collect(input: Kind, into: Item[], hooks: Partial<SinkBody> = {}): BoundStage {
  return bound({
    name: 'collect',
    input,
    output: 'nothing',
    create: () => ({
      ...hooks,
      async write(item: Item) {
        await hooks.write?.(item)
        into.push(item)
      },
    }),
  })
}

export function bound(definition: {
  name: string
  input: Kind | 'any'
  output: Kind | 'same'
  create: (options: any, context: any) => any
}): BoundStage {
  return defineStage({ summary: 'for a test', options: any, ...definition })({})
}

/** What comes out of `stages` when `items` go in. */
export async function through<Out extends Item = Item>(
  input: Kind,
  items: Iterable<Item> | AsyncIterable<Item>,
  stages: BoundStage[],
  options?: RunOptions,
): Promise<Out[]> {
  const out: Item[] = []
  const last = stages.at(-1)!.definition.output
  const output = last === 'same' ? input : last
  await definePipeline([itemsOf(input, items), ...stages, collect(output, out)]).run(options)
  return out as Out[]
}

/** What comes out of stages for bytes, copied, with every lease given back: for more than fits into a budget. */
export async function bytesThrough(input: Kind, items: Iterable<Item>, stages: BoundStage[]): Promise<Chunk[]> {
  const copies: Chunk[] = []
  const write = (item: Item) => {
    copies.push(new Chunk((item as Chunk).buffers.map((buffer) => Buffer.from(buffer))))
    item.release()
  }
  await definePipeline([itemsOf(input, items), ...stages, collect('bytes', [], { write })]).run()
  return copies
}

export function manifestOf(...sizes: number[]): Manifest {
  return new Manifest({
    uuid: Buffer.alloc(16, 7),
    ctime: 1700000000,
    configs: [],
    drives: sizes.map((size, index) => ({ id: index + 1, name: `drive-scsi${index}`, size })),
  })
}

export type { SourceBody }
