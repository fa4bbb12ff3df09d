/** A backup that nobody reads any more, of a guest that does nothing: it ends by command, or after `--max-hang`. */

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { oneLine, startCli, vmapipe } from '../../cli/cli.ts'
import { tmpDir } from '../../support/tmp.ts'
import { MiB, makeDisk } from '../images.ts'
import { type Serving, serve } from '../serving.ts'

const timeout = 240_000
const GIVEN_UP = /nothing of the archive has been taken for ([\d.]+) s, 3 s are allowed: the backup was given up/

async function start(t: TestContext, ...flags: string[]): Promise<{ serving: Serving; dir: string }> {
  const dir = tmpDir(t)
  for (const name of ['a', 'b']) makeDisk(join(dir, name), 96 * MiB)
  const drives = { a: join(dir, 'a'), b: join(dir, 'b') }
  return { dir, serving: await serve(t, drives, ['--buffer', '16MiB', ...flags], dir) }
}

const WITHOUT_COMPILED_CODE = join(import.meta.dirname, '../../support/no-compiled-code.mjs')

/** Readers that begin and take nothing more. */
const readers = {
  curl: async (serving: Serving) => {
    const response = await serving.ask('GET', '/backup')
    response.on('error', () => {})
    const gone = new Promise<void>((resolve) => response.once('close', resolve))
    return {
      gone: async () => {
        response.resume()
        await gone
        assert.equal(response.complete, false)
      },
    }
  },
  '`vmapipe backup --attach`': (serving: Serving, t: TestContext, dir: string) => attached(serving, t, dir),
  '`vmapipe backup --attach` without shared memory': (serving: Serving, t: TestContext, dir: string) =>
    attached(serving, t, dir, { NODE_OPTIONS: `--import ${WITHOUT_COMPILED_CODE}` }),
}

async function attached(serving: Serving, t: TestContext, dir: string, env: Record<string, string> = {}) {
  const archive = join(dir, 'vm.vma')
  const child = startCli(['backup', '--attach', serving.control, '--quiet', '-o', archive, '--bwlimit', '20MiB/s'], {
    env,
  })
  t.after(() => child.kill('SIGKILL'))
  child.stderr.resume()
  const exit = once(child, 'exit')
  for (let status = await serving.status(); !status.backup?.clusters.scanned; status = await serving.status())
    await sleep(10)
  child.kill('SIGSTOP')
  return {
    gone: async () => {
      child.kill('SIGCONT')
      assert.deepEqual(await exit, [1, null])
      assert.equal(existsSync(archive), false)
    },
  }
}

describe('a backup whose reader hangs', { timeout: 2 * timeout }, () => {
  for (const [who, begin] of Object.entries(readers)) {
    test(`is ended by \`vmapipe abort\`: ${who}`, { timeout }, async (t) => {
      const { serving, dir } = await start(t)
      const reader = await begin(serving, t, dir)
      const { code, stdout, stderr } = await vmapipe(['abort', '--attach', serving.control])
      assert.deepEqual([code, stdout.length, stderr], [0, 0, 'the backup has ended\n'])
      const { complete, error } = await serving.ended()
      assert.equal(complete, false)
      assert.match(error!, /aborted by request/)
      await reader.gone()
      const again = await serving.json('GET', '/status')
      assert.equal(again.body.backup, null)
    })

    test(`is given up after --max-hang: ${who}`, { timeout }, async (t) => {
      const { serving, dir } = await start(t, '--max-hang', '3s')
      const reader = await begin(serving, t, dir)
      const { complete, error } = await serving.ended()
      assert.equal(complete, false)
      const [, waited] = error!.match(GIVEN_UP) ?? assert.fail(error!)
      // On a busy machine the service looks late.
      assert.ok(Number(waited) >= 3, error!)
      await reader.gone()
    })
  }

  test('a request may set another limit', { timeout }, async (t) => {
    const { serving } = await start(t)
    const response = await serving.ask('GET', '/backup?max-hang=300')
    response.on('error', () => {})
    assert.match(
      (await serving.ended()).error!,
      /nothing of the archive has been taken for [\d.]+ s, 0\.3 s are allowed/,
    )
  })

  test('where there is none, abort says so', { timeout }, async (t) => {
    const { serving, dir } = await start(t)
    const none = await vmapipe(['abort', '--attach', serving.control])
    assert.match(oneLine(none), /no backup is running \(file .*ctl\)/)
    assert.equal(none.code, 1)
    const nobody = await vmapipe(['abort', '--attach', join(dir, 'nothing')])
    assert.match(oneLine(nobody), /nothing.*is `vmapipe serve --control` running there\?/)
    assert.equal(nobody.code, 1)
    assert.equal((await vmapipe(['abort'])).code, 2)
  })
})
