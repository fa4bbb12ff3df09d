import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as z from 'zod'
import { formatBytes, formatRate, parseBytes } from '../../src/core/size.ts'
import { byteRate, byteSize } from '../../src/core/size-option.ts'

test('suffixes are those of coreutils: M and MiB are 1024s, MB is 1000s', () => {
  const cases: Record<string, number> = {
    '0': 0,
    '512': 512,
    '512B': 512,
    '64K': 65536,
    '64k': 65536,
    '64MiB': 64 << 20,
    '64mib': 64 << 20,
    '1G': 2 ** 30,
    '1.5G': 1.5 * 2 ** 30,
    '100MB': 1e8,
    '100MB/s': 1e8,
    '2 TiB': 2 * 2 ** 40,
    '1T/s': 2 ** 40,
    '0.3K': 307,
  }
  for (const [text, bytes] of Object.entries(cases)) assert.equal(parseBytes(text), bytes, text)
})

test('what is no size is not guessed at', () => {
  for (const text of ['', 'M', '-1', '1e3', '64 apples', '1iB', '1,5G', '0x10', '1GG', '10/h', '99999999P', 'Infinity'])
    assert.equal(parseBytes(text), undefined, text)
})

test('an option takes a number of bytes or text, and says what it wanted', () => {
  assert.equal(byteSize().parse('1MiB'), 1 << 20)
  assert.equal(byteSize().parse(4096), 4096)
  assert.equal(byteRate().parse('100MB/s'), 1e8)
  const message = (schema: z.ZodType, value: unknown) => schema.safeParse(value).error?.issues[0].message
  assert.equal(message(byteSize(), 'lots'), 'expected a size such as 64MiB, got "lots"')
  assert.equal(message(byteSize(), undefined), 'expected a size such as 64MiB, got nothing')
  assert.equal(message(byteSize(), 1.5), 'expected a size such as 64MiB, got 1.5')
  assert.equal(message(byteSize({ min: 4096 }), '1K'), 'expected at least 4.0 KiB, got "1K"')
  assert.equal(message(byteRate(), 0), 'expected at least 1 B, got 0')
})

test('the schema for editors accepts what the parser accepts', () => {
  const schema = z.toJSONSchema(byteSize(), { io: 'input' }) as { anyOf: { pattern?: string }[] }
  const pattern = new RegExp(schema.anyOf.find((s) => s.pattern !== undefined)!.pattern!)
  for (const text of ['512', '64KiB', '1.5g', '100MB/s', '2 TiB']) assert.match(text, pattern)
  for (const text of ['', '-1', 'lots', '1GG']) assert.doesNotMatch(text, pattern)
})

test('sizes for people have one decimal and never four digits before it', () => {
  assert.equal(formatBytes(0), '0 B')
  assert.equal(formatBytes(1023), '1023 B')
  assert.equal(formatBytes(1024), '1.0 KiB')
  assert.equal(formatBytes(1024 * 1024 - 1), '1.0 MiB')
  assert.equal(formatBytes(3.25 * 2 ** 30), '3.3 GiB')
  assert.equal(formatRate(430128333), '410.2 MiB/s')
})
