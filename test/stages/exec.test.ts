import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { definePipeline, type RunOptions } from '../../src/core/pipeline.ts'
import { exec } from '../../src/stages/exec.ts'
import { sink } from '../../src/stages/sink.ts'
import { processesWith, until } from '../storage/archive/processes.ts'
import { chunksOf, throughBytes } from '../support/bytes.ts'
import { tmpDir } from '../support/tmp.ts'
import { needs } from '../support/tools.ts'

const MIB = 1 << 20
const limited = { timeout: 30_000 }

/** 24 MiB: more than all pipes and the stage's memory hold. */
const data = Array.from({ length: 24 }, () => randomBytes(MIB))

async function failing(
  t: Parameters<typeof tmpDir>[0],
  command: string | string[],
  error: object,
  options?: RunOptions,
) {
  const dir = tmpDir(t)
  const run = definePipeline([chunksOf(data), exec({ command }), sink({ to: join(dir, 'out') })] as never).run(options)
  await assert.rejects(run, error)
  assert.deepEqual(readdirSync(dir), [])
}

test('the bytes go through a shell line or a program with its arguments', limited, async () => {
  const whole = Buffer.concat(data)
  assert.ok((await throughBytes(exec({ command: 'cat | cat' }), data)).equals(whole))
  assert.ok((await throughBytes(exec({ command: ['cat', '-'] }), data)).equals(whole))
  assert.equal((await throughBytes(exec({ command: ['printf', '%s', '$HOME; x'] }), [])).toString(), '$HOME; x')
})

for (const [program, to, back] of [
  ['zstd', ['zstd', '-q'], 'zstd -dc'],
  ['mbuffer', ['mbuffer', '-q', '-m', '2M'], 'cat'],
  ['pv', ['pv', '-q'], 'cat'],
  [
    'gpg',
    'gpg --batch --homedir "$D" --passphrase x --pinentry-mode loopback -c',
    'gpg --batch --homedir "$D" -q --passphrase x --pinentry-mode loopback -d',
  ],
] as const) {
  test(`what went through ${program} comes back`, { ...limited, ...needs(program) }, async (t) => {
    process.env.D = tmpDir(t)
    t.after(() => delete process.env.D)
    const file = join(tmpDir(t), 'out')
    const command = typeof to === 'string' ? to : [...to]
    const run = definePipeline([
      chunksOf(data),
      exec({ command }),
      exec({ command: back }),
      sink({ to: file }),
    ] as never)
    const { leaked } = await run.run({ buffer: 16 << 20 })
    assert.equal(leaked, 0)
    assert.ok(readFileSync(file).equals(Buffer.concat(data)))
  })
}

test('what is encrypted by age is decrypted by age', { ...limited, ...needs('age', 'age-keygen') }, async (t) => {
  const dir = tmpDir(t)
  const key = execFileSync('age-keygen', { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
  const recipient = /public key: (\S+)/.exec(key)![1]
  const run = definePipeline([
    chunksOf(data),
    exec({ command: ['age', '-r', recipient] }),
    sink({ to: join(dir, 'out.age') }),
  ] as never)
  await run.run()
  const plain = execFileSync('age', ['-d', '-i', '-', join(dir, 'out.age')], { input: key, maxBuffer: 64 * MIB })
  assert.ok(plain.equals(Buffer.concat(data)))
})

test('a program that fails leaves nothing, and is quoted', limited, async (t) => {
  const warnings: string[] = []
  const warn = (text: string) => void warnings.push(text)
  await failing(
    t,
    'cat; echo first >&2; echo key expired >&2; exit 3',
    { code: 'FAILED', stage: 'exec', message: /exit code 3: key expired/ },
    { warn },
  )
  assert.deepEqual(warnings, ['first'])
  await failing(t, 'head -c 5000000; exit 4', { message: /exit code 4/ })
  await failing(t, 'cat; kill -9 $$', { message: /was ended by SIGKILL/ })
})

test('what a program says while all is well is a warning', limited, async () => {
  const warnings: string[] = []
  await throughBytes(exec({ command: 'cat; echo note >&2' }), data, { warn: (text) => void warnings.push(text) })
  assert.deepEqual(warnings, ['note'])
})

test('a program that ends early, or takes nothing, is an error even with exit code 0', limited, async (t) => {
  await failing(t, 'head -c 10', { message: /exit code 0 before it had taken the whole archive/ })
  await failing(t, 'true', { message: /exit code 0 before it had taken the whole archive/ })
  await failing(t, 'exec <&-; sleep 600', { message: /closed its end of the pipe/ })
})

test('a program that is not there is named before anything flows', limited, async (t) => {
  await failing(t, ['no-such-program-here'], { stage: 'exec', message: /'no-such-program-here' was not found/ })
})

test(
  'an abort ends a program that hangs, with all that it has started, and it sees no end of its input',
  limited,
  async (t) => {
    const marker = `60${process.pid}`
    const dir = tmpDir(t)
    for (const line of [
      `sleep ${marker} & sleep ${marker}; true`,
      `trap '' TERM; (trap '' TERM; sleep ${marker}); true`,
      `cat >/dev/null; touch '${dir}/ended'; sleep ${marker}`,
    ]) {
      const controller = new AbortController()
      const endless = (async function* () {
        for (;;) {
          await sleep(1)
          yield data[0]
        }
      })()
      const run = throughBytes(exec({ command: line }), endless, { signal: controller.signal })
      setTimeout(() => controller.abort(), 500)
      await assert.rejects(run, { code: 'ABORTED' })
      await until(() => processesWith(`sleep ${marker}`).length === 0, 'all that it had started has ended')
    }
    assert.deepEqual(readdirSync(dir), [])
  },
)

test('a slow consumer holds the program back within the memory of the stage', limited, async () => {
  const { highWater } = await (async () => {
    const { collectBytes } = await import('../support/bytes.ts')
    const output = collectBytes({ drop: true, onChunk: () => sleep(5) })
    return definePipeline([chunksOf(data), exec({ command: ['cat'] }), output.stage] as never).run()
  })()
  assert.ok(highWater <= 4 * MIB, `${highWater} bytes`)
})

test('a command of nothing is refused', () => {
  for (const command of ['', '  ', [], 5]) assert.throws(() => exec({ command } as never), { code: 'USAGE' })
})
