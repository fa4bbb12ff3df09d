import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import { type TestContext, test } from 'node:test'
import type { GuestRow, NowView } from '../../src/web/house.ts'
import { tmpDir } from '../support/tmp.ts'
import { LAUNCHER, oneLine, vmapipe } from './cli.ts'

const timeout = 180_000

/** Starts it, and resolves with the link that it prints. */
async function startDemo(t: TestContext, TMPDIR: string) {
  const child = spawn(process.execPath, [LAUNCHER, 'demo', '--web', '--listen', '127.0.0.1:0'], {
    env: { ...process.env, NO_COLOR: '1', TMPDIR },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  t.after(() => child.kill('SIGKILL'))
  let said = ''
  for await (const piece of child.stdout.setEncoding('utf8')) {
    said += piece
    if (said.includes('Ctrl-C')) break
  }
  const link = /http:\/\/127\.0\.0\.1:\d+\/#link=\S+/.exec(said)?.[0]
  assert.ok(link, said)
  return { child, link: new URL(link) }
}

async function signIn({ origin, hash }: URL): Promise<(path: string) => Promise<unknown>> {
  const answer = await fetch(`${origin}/api/link`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', origin },
    body: JSON.stringify({ token: hash.slice('#link='.length) }),
  })
  assert.equal(answer.status, 200)
  const cookie = answer.headers.getSetCookie().map((one) => one.split(';')[0])
  return async (path) => (await fetch(`${origin}${path}`, { headers: { cookie: cookie.join('; ') } })).json()
}

async function until<T>(look: () => Promise<T>, isRight: (found: T) => boolean): Promise<T> {
  for (let tries = 0; ; tries++) {
    const found = await look()
    if (isRight(found) || tries > 500) return found
    await new Promise((resolve) => setTimeout(resolve, 200))
  }
}

test('the demo of the page shows guests that are backed up, one that is not, and ends without a trace', {
  timeout,
}, async (t) => {
  const dir = tmpDir(t)
  const { child, link } = await startDemo(t, dir)
  const get = await signIn(link)
  const now = await until(
    () => get('/api/now') as Promise<NowView>,
    ({ rows }) => rows.some(({ stats, latency }) => stats !== null && latency !== null),
  )
  assert.deepEqual([...new Set(now.rows.map(({ guest }) => guest))].sort(), ['db01', 'web01'])
  const running = now.rows.find(({ stats }) => stats !== null)!
  assert.ok(running.stats!.stages.length > 3)

  const guests = await until(
    () => get('/api/guests') as Promise<GuestRow[]>,
    (rows) => rows.some(({ guest }) => guest === 'files01'),
  )
  const ours = new Map(guests.map((row) => [row.guest, row]))
  assert.equal(ours.get('files01')!.state, 'unprotected')
  for (const name of ['web01', 'db01']) {
    assert.equal(ours.get(name)!.state, 'good')
    assert.equal(ours.get(name)!.trend.length, 2, 'it was backed up twice before')
  }

  child.kill('SIGINT')
  await once(child, 'exit')
  assert.deepEqual(readdirSync(dir), [])
})

test('the demo of the page keeps nothing', { timeout }, async () => {
  assert.match(oneLine(await vmapipe(['demo', '--web', '--keep', '/nowhere'])), /keeps nothing/)
})
