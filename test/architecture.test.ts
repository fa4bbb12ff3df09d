import assert from 'node:assert/strict'
import { globSync, readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { describe, test } from 'node:test'

const src = join(import.meta.dirname, '../src')

/** From the ground up: a room may use those of lower or the same level. */
const LEVELS: Record<string, number> = {
  core: 0,
  system: 1,
  formats: 2,
  protocol: 2,
  storage: 3,
  machine: 3,
  codecs: 4,
  stages: 5,
  access: 6,
  chain: 7,
  live: 7,
  config: 8,
  operations: 8,
  catalog: 9,
  jobs: 10,
  fleet: 11,
  web: 12,
  cli: 13,
}

const files = globSync('**/*.{ts,js}', { cwd: src })
const imports = files.flatMap((file) =>
  [...readFileSync(join(src, file), 'utf8').matchAll(/(?:from|import)\s*\(?\s*'([^']+)'/g)].map(([, target]) => ({
    file,
    target: target.startsWith('.') ? relative(src, join(src, dirname(file), target)) : target,
    own: target.startsWith('.'),
  })),
)
const room = (file: string) => file.split('/')[0]

describe('the architecture', () => {
  test('dependence goes one way: cli, web, fleet, jobs, catalog, operations and config, live and chain, access, stages, codecs, storage, formats and protocol, system, core', () => {
    const back = imports
      .filter(({ own, file, target }) => own && room(file) in LEVELS && room(target) in LEVELS)
      .filter(({ file, target }) => LEVELS[room(file)] < LEVELS[room(target)])
      .map(({ file, target }) => `${file} imports ${target}`)
    assert.deepEqual(back, [])
    assert.ok(imports.length > 50, 'the imports were found')
  })

  test('formats and protocols know nothing of each other, nor stages of the command line', () => {
    const across = imports.filter(
      ({ own, file, target }) =>
        own &&
        room(file) !== room(target) &&
        LEVELS[room(file)] === LEVELS.formats &&
        LEVELS[room(target)] === LEVELS.formats,
    )
    assert.deepEqual(across, [])
  })

  test('no files import each other in a ring', () => {
    assert.deepEqual(rings(imports.filter(({ own }) => own)), [])
  })

  test('access reads archives without a pipeline: it imports no stages', () => {
    const found = imports.filter(({ own, file, target }) => own && room(file) === 'access' && room(target) === 'stages')
    assert.deepEqual(found, [])
  })

  test('core alone imports streamx and stream-chain', () => {
    const others = imports.filter(({ file, target }) => /^(streamx|stream-chain)/.test(target) && room(file) !== 'core')
    assert.deepEqual(others, [])
  })

  test('packages with compiled code are loaded when they are needed: nothing imports them but for their types', () => {
    const compiled = /^import (?!type )[^'\n]*'(koffi|lz4-napi|@node-rs\/xxhash)'/m
    assert.deepEqual(
      files.filter((file) => compiled.test(readFileSync(join(src, file), 'utf8'))),
      [],
    )
  })

  test('every room is on the map', () => {
    const map = readFileSync(join(src, 'README.md'), 'utf8')
    const rooms = new Set(files.filter((file) => file.includes('/')).map(room))
    for (const name of rooms) {
      assert.ok(name in LEVELS, `${name} has a level`)
      assert.match(map, new RegExp(`^ *${name}/`, 'm'))
    }
  })

  test('files stay small enough to be read', () => {
    const large = files.filter((file) => readFileSync(join(src, file), 'utf8').split('\n').length > 330)
    assert.deepEqual(large, [])
  })
})

/** Sets of files of which each is reached from each other by imports, types too. */
function rings(edges: readonly { file: string; target: string }[]): string[][] {
  const targets = Map.groupBy(edges, ({ file }) => file)
  const reached = (from: string) => {
    const seen = new Set<string>()
    const left = [from]
    for (let file = left.pop(); file !== undefined; file = left.pop()) {
      for (const { target } of targets.get(file) ?? []) {
        if (seen.has(target)) continue
        seen.add(target)
        left.push(target)
      }
    }
    return seen
  }
  const reach = new Map([...targets.keys()].map((file) => [file, reached(file)]))
  const inRing = [...reach].filter(([file, seen]) => seen.has(file)).map(([file]) => file)
  const groups = Map.groupBy(inRing, (file) =>
    inRing.filter((other) => reach.get(file)!.has(other) && reach.get(other)!.has(file)).join(),
  )
  return [...groups.values()]
}
