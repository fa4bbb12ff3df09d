import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { tmpDir } from './support/tmp.ts'

const RUN = join(import.meta.dirname, 'run.ts')

/** Runs a file of tests as `npm test` does. */
function runFile(
  folder: string,
  code: string,
  limits: Record<string, string> = {},
): { status: number | null; said: string } {
  const file = join(folder, 'some.test.ts')
  writeFileSync(file, `import { test } from 'node:test'\n${code}\n`)
  const { NODE_TEST_CONTEXT: _, ...env } = process.env
  const { status, stdout, stderr } = spawnSync(process.execPath, [RUN, file], {
    env: { ...env, ...limits },
    encoding: 'utf8',
    timeout: 50_000,
    killSignal: 'SIGKILL',
  })
  return { status, said: stdout + stderr }
}

test('a test that passes, and one that fails', { timeout: 60_000 }, (t) => {
  const dir = tmpDir(t)
  const passing = runFile(dir, `test('good', () => {})`)
  assert.equal(passing.status, 0, passing.said)
  assert.match(passing.said, /pass 1\n/)
  assert.match(passing.said, /\d s {2}\S+some\.test\.ts\n/)
  const failing = runFile(dir, `test('bad', () => { throw new Error('as it should') })`)
  assert.equal(failing.status, 1, failing.said)
  assert.match(failing.said, /as it should/)
})

test('an error of nobody fails the file, and is told with its stack', { timeout: 60_000 }, (t) => {
  const dir = tmpDir(t)
  const wait = 'await new Promise((done) => setTimeout(done, 100))'
  const errors = [`setTimeout(() => { throw new Error('of nobody') })`, `Promise.reject(new Error('of nobody'))`]
  for (const error of errors) {
    for (const code of [`test('during', async () => { ${error}; ${wait} })`, `test('after', () => { ${error} })`]) {
      const { status, said } = runFile(dir, code)
      assert.equal(status, 1, `${code}: ${said}`)
      assert.match(said, /of nobody\n\s+at .*some\.test\.ts/, code)
    }
  }
})

test('tests of a suite belong to it, and run at once if it says so', { timeout: 60_000 }, (t) => {
  const dir = tmpDir(t)
  const code = `
    import { describe } from 'node:test'
    const both = Promise.withResolvers()
    let begun = 0
    describe('a suite', { concurrency: 2, timeout: 20_000 }, () => {
      for (const name of ['one', 'two'])
        test(name, () => {
          if (++begun === 2) both.resolve()
          return both.promise
        })
    })`
  const { status, said } = runFile(dir, code)
  assert.equal(status, 0, said)
  assert.match(said, /a suite\n +. one/)
})

test('a file whose process does not end is ended after its last test, and what is open is told', {
  timeout: 60_000,
}, (t) => {
  const code = `
    import { createServer } from 'node:net'
    createServer().listen(0)
    test('good', () => {})
    test('bad', () => { throw new Error('as it should') })`
  const { status, said } = runFile(tmpDir(t), code, { VMAPIPE_TEST_PATIENCE_MS: '100' })
  assert.equal(status, 1, said)
  assert.match(said, /some\.test\.ts: its tests have ended, but not its process\. Still open: .*TCPServerWrap/)
  assert.match(said, /pass 1\n/)
  assert.match(said, /as it should/)
})

test('a hook that runs long after the last test is waited for', { timeout: 60_000 }, (t) => {
  const code = `
    import { after } from 'node:test'
    test('good', () => {})
    after(() => new Promise((done) => setTimeout(done, 3000)))`
  const { status, said } = runFile(tmpDir(t), code, { VMAPIPE_TEST_PATIENCE_MS: '100' })
  assert.equal(status, 0, said)
})

test('a file that hangs tells in which test, and what is open', { timeout: 60_000 }, (t) => {
  const code = `
    import { createServer } from 'node:net'
    test('good', () => {})
    test('hung', async (t) => {
      await t.test('within', () => new Promise(() => createServer().listen(0)))
    })`
  const { status, said } = runFile(tmpDir(t), code, { VMAPIPE_TEST_LONGEST_MS: '2000' })
  assert.equal(status, 1, said)
  assert.match(said, /some\.test\.ts: it has not ended after 2 s, in 'within'\. Still open: .*TCPServerWrap/)
})

test('a timer that is left does not fail a file, and does not keep it', { timeout: 60_000 }, (t) => {
  const { status, said } = runFile(tmpDir(t), "test('good', () => void setTimeout(() => {}, 3_600_000))", {
    VMAPIPE_TEST_PATIENCE_MS: '1000',
  })
  assert.equal(status, 0, said)
  assert.doesNotMatch(said, /Still open/)
})

test('what a file leaves running is ended and told, and does not keep the runner', { timeout: 60_000 }, (t) => {
  const code = `
    import { spawn } from 'node:child_process'
    test('good', () => {})
    spawn('sleep', ['3600'], { stdio: 'inherit', detached: true }).unref()`
  const { status, said } = runFile(tmpDir(t), code)
  assert.equal(status, 0, said)
  assert.match(said, /some\.test\.ts: process \d+ was left running \(sleep 3600\)/)
})
