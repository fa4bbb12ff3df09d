/** Changes to bytes that are right: what gets further into a parser than noise does. */

import fc from 'fast-check'

/** Places and lengths count modulo what there is, so that every mutation fits all bytes. */
export type Mutation =
  | { kind: 'flip'; at: number; bit: number }
  | { kind: 'set'; at: number; value: string }
  | { kind: 'insert'; at: number; value: string }
  | { kind: 'delete'; at: number; count: number }
  | { kind: 'repeat'; at: number; count: number }
  | { kind: 'copy'; at: number; from: number; count: number }
  | { kind: 'cut'; at: number }

/** Numbers at the edges of their types, of both byte orders, and a few magic numbers. */
const VALUES = [
  ...[
    '00',
    '01',
    '7f',
    '80',
    'ff',
    '0000',
    'ffff',
    '8000',
    '00000000',
    '00000001',
    'ffffffff',
    '7fffffff',
    '80000000',
    '00000080',
  ],
  ...['0000000000000000', 'ffffffffffffffff', '7fffffffffffffff', '001fffffffffffff', '0020000000000000'],
  ...['564d4100', '564d4145', '28b52ffd', '04224d18', '02214c18', '1f8b0804', '502a4d18', '5643', '5652'],
]

const value = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom(...VALUES) },
  fc.uint8Array({ minLength: 1, maxLength: 40 }).map((bytes) => Buffer.from(bytes).toString('hex')),
)

/** Small ones are more likely, and so are those that formats are made of. */
const count = fc.oneof(fc.integer({ min: 1, max: 16 }), fc.constantFrom(8, 32, 512, 4096), fc.nat(70_000))

/** `places` are offsets that matter more than others. */
export function mutations(places: readonly number[] = [], most = 5): fc.Arbitrary<Mutation[]> {
  const anywhere = fc.nat(2 ** 24)
  const at =
    places.length === 0
      ? anywhere
      : fc.oneof(
          anywhere,
          fc.tuple(fc.constantFrom(...places), fc.nat(40)).map(([place, by]) => place + by),
        )
  const one: fc.Arbitrary<Mutation> = fc.oneof(
    fc.record({ kind: fc.constant('flip' as const), at, bit: fc.nat(7) }),
    fc.record({ kind: fc.constant('set' as const), at, value }),
    fc.record({ kind: fc.constant('insert' as const), at, value }),
    fc.record({ kind: fc.constant('delete' as const), at, count }),
    fc.record({ kind: fc.constant('repeat' as const), at, count }),
    fc.record({ kind: fc.constant('copy' as const), at, from: at, count }),
    fc.record({ kind: fc.constant('cut' as const), at }),
  )
  return fc.array(one, { maxLength: most })
}

export function mutate(bytes: Buffer, list: readonly Mutation[]): Buffer {
  let result: Buffer = bytes
  for (const mutation of list) if (result.length > 0) result = apply(result, mutation)
  // A copy where nothing was changed, too.
  return Buffer.from(result)
}

function apply(bytes: Buffer, mutation: Mutation): Buffer {
  const at = mutation.at % bytes.length
  const [head, tail] = [bytes.subarray(0, at), bytes.subarray(at)]
  switch (mutation.kind) {
    case 'flip':
      return changed(bytes, at, Buffer.of(bytes[at] ^ (1 << mutation.bit)))
    case 'set':
      return changed(bytes, at, Buffer.from(mutation.value, 'hex'))
    case 'insert':
      return Buffer.concat([head, Buffer.from(mutation.value, 'hex'), tail])
    case 'delete':
      return Buffer.concat([head, tail.subarray(mutation.count)])
    case 'repeat':
      return Buffer.concat([head, tail.subarray(0, mutation.count), tail])
    case 'copy': {
      const from = mutation.from % bytes.length
      return changed(bytes, at, bytes.subarray(from, from + mutation.count))
    }
    case 'cut':
      return head
  }
}

function changed(bytes: Buffer, at: number, by: Uint8Array): Buffer {
  const result = Buffer.from(bytes)
  result.set(by.subarray(0, bytes.length - at), at)
  return result
}
