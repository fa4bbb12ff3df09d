import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import { findProgram, spawnTied } from '../../src/system/child.ts'
import { needs } from '../support/tools.ts'

const timeout = 60_000
const module = pathToFileURL(new URL('../../src/system/child.ts', import.meta.url).pathname).href

/** Starts a process that has a tied `sleep`, prints its pid, and then does `ending`. */
async function parentOfSleep(ending: string, child = "'sleep', ['60'], { stdio: 'ignore' }") {
  const script = `const { spawnTied } = await import('${module}')
    const child = spawnTied(${child})
    console.log(child.pid)
    await new Promise((r) => setTimeout(r, 100))
    ${ending}`
  const parent = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['ignore', 'pipe', 'ignore'] })
  const [line] = await once(parent.stdout, 'data')
  return { parent, pid: Number(line) }
}

async function gone(pid: number): Promise<boolean> {
  for (let i = 0; i < 3000; i++) {
    if (!isAlive(pid)) return true
    await sleep(10)
  }
  return false
}

/** What has ended but was not yet waited for by its new parent is not alive. */
function isAlive(pid: number): boolean {
  try {
    return !/^\d+ \(.*\) Z/.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))
  } catch {
    return false
  }
}

test('gives the output and exit code of the program itself', { timeout }, async () => {
  const child = spawnTied('sh', ['-c', 'echo "$1"; exit 7', '-', '--a b'], { stdio: ['ignore', 'pipe', 'inherit'] })
  const [[text], [code]] = await Promise.all([once(child.stdout!, 'data'), once(child, 'exit')])
  assert.equal(String(text), '--a b\n')
  assert.equal(code, 7)
})

test('runs a shell command with `shell`', { timeout }, async () => {
  const child = spawnTied('echo one | tr o 0', [], { shell: true, stdio: ['ignore', 'pipe', 'inherit'] })
  const [text] = await once(child.stdout!, 'data')
  assert.equal(String(text), '0ne\n')
})

test('a program that does not exist is an ENOENT error', { timeout }, async () => {
  for (const name of ['no-such-program-here', '/no/such/program']) {
    const [error] = await once(spawnTied(name, []), 'error')
    assert.equal(error.code, 'ENOENT')
  }
})

test('a child ends when its parent exits', { timeout }, async () => {
  const { pid } = await parentOfSleep('process.exit(0)')
  assert.ok(await gone(pid))
})

test('a child ends when its parent is killed with SIGKILL', { timeout, ...needs('setpriv') }, async () => {
  const { parent, pid } = await parentOfSleep('await new Promise((r) => setTimeout(r, 9000))')
  await sleep(200)
  parent.kill('SIGKILL')
  assert.ok(await gone(pid))
})

test('a child does not begin whose parent was killed before it was tied', {
  timeout,
  ...needs('setpriv'),
}, async () => {
  const script = `const { spawnTied } = await import('${module}')
    const { writeSync } = await import('node:fs')
    writeSync(1, String(spawnTied('sleep', ['60'], { stdio: 'ignore' }).pid))
    process.kill(process.pid, 'SIGKILL')`
  const parent = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['ignore', 'pipe', 'ignore'] })
  const [text] = await once(parent.stdout, 'data')
  assert.ok(await gone(Number(text)))
})

test('a child may be made to end at once', { timeout, ...needs('setpriv') }, async () => {
  const { parent, pid } = await parentOfSleep('', `'sh', ['-c', 'trap "" TERM; sleep 60'], { deathSignal: 'KILL' }`)
  await sleep(200)
  parent.kill('SIGKILL')
  assert.ok(await gone(pid))
})

test('finds programs on the path only', () => {
  assert.match(findProgram('sh')!, /\/sh$/)
  assert.equal(findProgram('sh', '/nowhere'), undefined)
})
