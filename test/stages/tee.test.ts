import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { Chunk } from '../../src/core/items.ts'
import { definePipeline, type RunOptions } from '../../src/core/pipeline.ts'
import type { BoundStage, StageContext } from '../../src/core/stage.ts'
import { clusterSource } from '../../src/stages/cluster-source.ts'
import { clusterWriter } from '../../src/stages/cluster-writer.ts'
import { compressor } from '../../src/stages/compressor.ts'
import { delay } from '../../src/stages/delay.ts'
import { exec } from '../../src/stages/exec.ts'
import { fault } from '../../src/stages/fault.ts'
import { hash } from '../../src/stages/hash.ts'
import { sink } from '../../src/stages/sink.ts'
import { tee } from '../../src/stages/tee.ts'
import { vmaFramer } from '../../src/stages/vma-framer.ts'
import { zeroElider } from '../../src/stages/zero-elider.ts'
import { zeroExpander } from '../../src/stages/zero-expander.ts'
import { processesWith, until } from '../storage/archive/processes.ts'
import { bound } from '../support/flow.ts'
import { tmpDir } from '../support/tmp.ts'
import { lacking } from '../support/tools.ts'

const MIB = 1 << 20
const limited = { timeout: 120_000 }
const pieces = Array.from({ length: 40 }, () => randomBytes(MIB))
const whole = Buffer.concat(pieces)

/** Chunks in leased memory: more than the budget of these tests. */
const leased = bound({
  name: 'leased',
  input: 'nothing',
  output: 'bytes',
  create: (_, { budget }: StageContext) =>
    (async function* () {
      for (const piece of pieces) {
        const slab = await budget.take(piece.length)
        piece.copy(slab.buffer)
        yield new Chunk([slab.buffer], [slab])
      }
    })(),
})

interface Spec {
  name: string
  required?: boolean
  stages: BoundStage[]
}

async function split(
  branches: Spec[],
  { limit = 30, holdBack, ...options }: RunOptions & { limit?: number; holdBack?: number } = {},
) {
  const warnings: string[] = []
  const stages = [leased, tee({ branches, 'give-up-after': limit, 'hold-back': holdBack })]
  const result = await definePipeline(stages as never).run({
    buffer: 16 * MIB,
    warn: (text) => void warnings.push(text),
    ...options,
  })
  return { ...result, warnings }
}

/** A sink that takes nothing more after some items, until it is aborted. */
const hanging = bound({
  name: 'hanging',
  input: 'bytes',
  output: 'nothing',
  create: (_, { signal }: StageContext) => ({
    write: () => new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason))),
  }),
})

/** One that cannot even be aborted, like a disk that is gone. */
const dead = bound({
  name: 'dead',
  input: 'bytes',
  output: 'nothing',
  create: () => ({ write: () => new Promise(() => {}) }),
})

test('every branch has all of the items, each by its own stages, and all memory comes back', limited, async (t) => {
  const dir = tmpDir(t)
  const { leaked, highWater, conclusions } = await split([
    { name: 'plain', stages: [hash(), sink({ to: join(dir, 'a') })] },
    { name: 'packed', stages: [compressor({ method: 'lz4' }), sink({ to: join(dir, 'b.lz4') })] },
    { name: 'by a program', required: false, stages: [exec({ command: ['cat'] }), sink({ to: join(dir, 'c') })] },
  ])
  assert.ok(readFileSync(join(dir, 'a')).equals(whole))
  assert.ok(readFileSync(join(dir, 'c')).equals(whole))
  execFileSync('sha256sum', ['-c', 'a.sha256'], { cwd: dir, stdio: 'ignore' })
  assert.ok(existsSync(join(dir, 'b.lz4')))
  assert.equal(leaked, 0)
  assert.ok(highWater <= 16 * MIB)
  assert.deepEqual(conclusions, [
    "branch 'plain' is complete",
    "branch 'packed' is complete",
    "branch 'by a program' is complete",
  ])
})

test('clusters go to an archive and to drives at once', limited, async (t) => {
  const dir = tmpDir(t)
  writeFileSync(join(dir, 'disk.raw'), whole)
  await definePipeline([
    clusterSource({ drives: { 'drive-scsi0': join(dir, 'disk.raw') } }),
    zeroElider(),
    tee({
      branches: [
        { name: 'archive', stages: [vmaFramer(), compressor(), sink({ to: join(dir, 'vm.vma.zst') })] },
        { name: 'drives', stages: [zeroExpander(), clusterWriter({ into: join(dir, 'copy') })] },
      ],
    }),
  ] as never).run()
  assert.ok(existsSync(join(dir, 'vm.vma.zst')))
  const [image] = readdirSync(join(dir, 'copy'))
  assert.ok(readFileSync(join(dir, 'copy', image)).equals(whole))
})

test('the slowest branch holds the others back', limited, async () => {
  const seen = { fast: 0, slow: 0 }
  let most = 0
  const counting = (name: keyof typeof seen) =>
    bound({
      name,
      input: 'bytes',
      output: 'nothing',
      create: () => ({
        write(chunk: Chunk) {
          seen[name]++
          most = Math.max(most, seen.fast - seen.slow)
          chunk.release()
        },
      }),
    })
  await split([
    { name: 'fast', stages: [counting('fast')] },
    { name: 'slow', stages: [delay({ ms: 5 }), counting('slow')] },
  ])
  assert.deepEqual(seen, { fast: 40, slow: 40 })
  assert.ok(most <= 6, `${most} items ahead`)
})

test('the failure of a required branch is that of the run, and nobody publishes', limited, async (t) => {
  const dir = tmpDir(t)
  for (const mode of ['in the middle', 'at the end']) {
    const broken = fault({ 'at-byte': mode === 'at the end' ? whole.length : 5 * MIB, code: 'DAMAGED' })
    const run = split([
      { name: 'good', stages: [sink({ to: join(dir, 'a') })] },
      { name: 'bad', stages: [broken, sink({ to: join(dir, 'b') })] },
      { name: 'optional', required: false, stages: [sink({ to: join(dir, 'c') })] },
    ])
    await assert.rejects(run, { code: 'DAMAGED', stage: 'bad/fault' })
    assert.deepEqual(readdirSync(dir), [])
  }
})

test(
  'a full disk: required, it fails the run; optional, the others go on, and no half file is left',
  limited,
  async (t) => {
    // Hooks run in this order, and a folder can be removed only when nothing is mounted there.
    let full = ''
    t.after(() => spawnSync('umount', [full]))
    full = tmpDir(t)
    const dir = tmpDir(t)
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=8m', 'tmpfs', full], { stdio: 'ignore' })
    } catch {
      return lacking(t, 'a tmpfs of a given size cannot be mounted')
    }
    const branches = (required: boolean) => [
      { name: 'good', stages: [sink({ to: join(dir, 'a') })] },
      { name: 'full', required, stages: [sink({ to: join(full, 'b') })] },
    ]
    await assert.rejects(split(branches(true)), { code: 'FAILED', stage: 'full/sink', message: /no space left/ })
    assert.deepEqual([readdirSync(dir), readdirSync(full)], [[], []])
    const { leaked, warnings, conclusions } = await split(branches(false))
    assert.ok(readFileSync(join(dir, 'a')).equals(whole))
    assert.deepEqual(readdirSync(full), [])
    assert.equal(leaked, 0)
    assert.match(warnings[0], /^branch 'full' failed, the others go on without it: full\/sink: no space left/)
    assert.match(conclusions[1], /^branch 'full' failed and has nothing: full\/sink: no space left/)
  },
)

test(
  'an optional branch that hangs is given up after its time, and what it held is free at once',
  limited,
  async (t) => {
    const dir = tmpDir(t)
    const marker = `61${process.pid}`
    const cases: BoundStage[][] = [
      [hanging],
      [dead],
      [sink({ to: `exec:sleep ${marker}` })],
      [exec({ command: `head -c 9000000; sleep ${marker}` }), sink({ to: join(dir, 'half') })],
      [compressor({ method: 'lz4', frame: '64KiB' }), hanging],
    ]
    for (const stages of cases) {
      const { warnings, leaked } = await split(
        [
          { name: 'good', stages: [sink({ to: join(dir, 'a'), force: true })] },
          { name: 'hung', required: false, stages },
        ],
        { limit: 1.5 },
      )
      assert.ok(readFileSync(join(dir, 'a')).equals(whole))
      assert.match(warnings.join(), /branch 'hung' took nothing for 1.5 seconds, the others go on without it/)
      // A compressor's frames are in memory that it had carved off for itself.
      if (stages[0] !== dead && stages[0].definition.name !== 'compressor') assert.equal(leaked, 0)
      await until(() => processesWith(`sleep ${marker}`).length === 0, 'its command has ended')
    }
    assert.deepEqual(readdirSync(dir), ['a'])
  },
)

test('an optional branch that hangs when it finishes does not hold the run for ever', limited, async (t) => {
  const dir = tmpDir(t)
  const final = bound({
    name: 'final',
    input: 'bytes',
    output: 'nothing',
    create: () => ({ write: (chunk: Chunk) => chunk.release(), final: () => new Promise(() => {}) }),
  })
  const { warnings } = await split(
    [
      { name: 'good', stages: [sink({ to: join(dir, 'a') })] },
      { name: 'hung', required: false, stages: [final] },
    ],
    { limit: 0.1 },
  )
  assert.match(warnings.join(), /branch 'hung' did not finish within 1 seconds/)
})

test('an optional branch that cannot be opened is left out, a required one fails the run', limited, async (t) => {
  const dir = tmpDir(t)
  const branches = (required: boolean) => [
    { name: 'good', stages: [sink({ to: join(dir, 'a') })] },
    { name: 'gone', required, stages: [sink({ to: join(dir, 'no-such-folder/b') })] },
  ]
  await assert.rejects(split(branches(true)), { stage: 'gone/sink' })
  assert.deepEqual(readdirSync(dir), [])
  const { warnings } = await split(branches(false))
  assert.match(warnings[0], /^branch 'gone' failed/)
  assert.ok(existsSync(join(dir, 'a')))
})

test('a run whose branches have all failed fails', limited, async () => {
  const broken = { name: 'bad', required: false, stages: [fault({ 'at-item': 2 }), sink({ to: '/dev/null' })] }
  await assert.rejects(split([broken]), { message: 'every branch has failed' })
})

test('an abort ends all branches, also one that hangs', limited, async (t) => {
  const dir = tmpDir(t)
  const run = split(
    [
      { name: 'a', stages: [sink({ to: join(dir, 'a') })] },
      { name: 'b', stages: [hanging] },
    ],
    { signal: AbortSignal.timeout(300) },
  )
  await assert.rejects(run, { code: 'ABORTED' })
  assert.deepEqual(readdirSync(dir), [])
})

test('a required branch publishes only when all required ones have made their items durable', limited, async (t) => {
  const dir = tmpDir(t)
  const seen: string[] = []
  const slow = bound({
    name: 'slow',
    input: 'bytes',
    output: 'nothing',
    create: () => ({
      write: (chunk: Chunk) => chunk.release(),
      async settle() {
        await sleep(300)
        seen.push(...readdirSync(dir).filter((name) => !name.endsWith('.partial')))
      },
      final: () => void seen.push(`published after ${readdirSync(dir).join()}`),
    }),
  })
  const inner = tee({ branches: [{ name: 'inner', stages: [sink({ to: join(dir, 'inner') })] }] })
  await split([
    { name: 'a', stages: [inner] },
    { name: 'b', stages: [slow] },
  ])
  assert.deepEqual(seen, ['published after inner'])
})

test('branches that do not fit, or have one name, are refused', () => {
  const check = (branches: Spec[]) => definePipeline([leased, tee({ branches })] as never)
  const refused = (message: RegExp) => ({ code: 'USAGE', message })
  assert.throws(
    () => check([{ name: 'x', stages: [compressor()] }]),
    refused(/branch 'x': it does not end with a sink of bytes/),
  )
  assert.throws(
    () => check([{ name: 'x', stages: [vmaFramer(), hanging] }]),
    refused(/branch 'x': vma-framer: .*takes clusters/),
  )
  assert.throws(() => check([{ name: 'x', stages: [hash(), compressor(), hanging] }]), refused(/branch 'x': hash:/))
  assert.throws(
    () =>
      check([
        { name: 'x', stages: [hanging] },
        { name: 'x', stages: [hanging] },
      ]),
    refused(/a name of its own/),
  )
  assert.throws(() => check([]), { code: 'USAGE' })
})

test('a slow optional branch holds the others back no longer than it may in all', limited, async (t) => {
  const dir = tmpDir(t)
  const [near, far] = [join(dir, 'near'), join(dir, 'far')]
  const slow = [delay({ ms: 100 }), sink({ to: far })]
  const branches = [
    { name: 'near', stages: [sink({ to: near })] },
    { name: 'far', required: false, stages: slow },
  ]
  const { warnings } = await split(branches, { holdBack: 0.5 })
  assert.ok(readFileSync(near).equals(whole))
  assert.ok(!existsSync(far))
  assert.match(warnings.join(), /'far' held the others back for 0.5 seconds in all, the others go on without it/)
})

test('an optional branch that is as fast as the others may hold them back', limited, async (t) => {
  const dir = tmpDir(t)
  const [near, far] = [join(dir, 'near'), join(dir, 'far')]
  const branches = [
    { name: 'near', stages: [sink({ to: near })] },
    { name: 'far', required: false, stages: [sink({ to: far })] },
  ]
  await split(branches, { holdBack: 20 })
  for (const path of [near, far]) assert.ok(readFileSync(path).equals(whole))
})
