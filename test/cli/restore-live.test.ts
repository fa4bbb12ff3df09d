/** `vmapipe restore --live` as its user runs it. */

import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { NbdClient } from '../../src/protocol/nbd/client.ts'
import { assertArchive } from '../live/images.ts'
import { imageAt, type Made, MiB, makeArchive } from '../live/restore/restoring.ts'
import { type Serving, serveBy } from '../live/serving.ts'
import { needs } from '../support/tools.ts'
import { oneLine, vmapipe } from './cli.ts'

const limits = { timeout: 120_000 }

function restoring(t: TestContext, { dir, archive, into }: Made, flags: string[] = []): Promise<Serving> {
  return serveBy(t, ['restore', archive, into, '--live', ...flags], dir)
}

async function said(serving: Serving, pattern: RegExp): Promise<void> {
  while (!pattern.test(serving.log)) await sleep(20)
}

describe('restore --live', () => {
  test('serves, restores, and serves on', { ...limits, ...needs('qemu-img') }, async (t) => {
    const made = await makeArchive(t, 'vma.zst')
    const serving = await restoring(t, made)
    await said(serving, /complete: the images are in .*restored/)
    const uri = serving.uri('a')
    execFileSync('qemu-img', ['compare', '-f', 'raw', '-F', 'raw', uri, join(made.dir, 'a')], { stdio: 'pipe' })
    assert.equal(await serving.stop(), 0)
    assert.ok(imageAt(made, 'a').equals(made.images.a))
    assert.ok(imageAt(made, 'b').equals(made.images.b))
  })

  test(
    'that is killed goes on where it was, with all that was written, also when it was complete',
    limits,
    async (t) => {
      const made = await makeArchive(t)
      for (let round = 0; round < 3; round++) {
        const serving = await restoring(t, made, ['--bwlimit', '200KiB/s'])
        const client = await NbdClient.connect({ socketPath: serving.socket, exportName: 'a' })
        const offset = round * 4 * MiB + 1234
        await client.write([Buffer.alloc(9000, round + 1)], offset)
        if (round === 1) await client.flush()
        made.images.a.fill(round + 1, offset, offset + 9000)
        await client.write([Buffer.alloc(4096)], 0)
        made.images.a.fill(0, 0, 4096)
        await serving.kill()
        await client.close().catch(() => {})
        assert.ok(!existsSync(join(made.into, 'disk-a.raw')))
      }
      const last = await restoring(t, made)
      await said(last, /complete/)
      await last.kill()
      const after = await restoring(t, made)
      await said(after, /complete/)
      assert.equal(await after.stop(), 0)
      assert.ok(imageAt(made, 'a').equals(made.images.a))
      assert.ok(imageAt(made, 'b').equals(made.images.b))
      assert.deepEqual(readdirSync(made.into).sort(), ['disk-a.raw', 'disk-b.raw', 'vm.conf'])
    },
  )

  test('that is ended before it is complete says so', limits, async (t) => {
    const made = await makeArchive(t)
    const serving = await restoring(t, made, ['--bwlimit', '100KiB/s'])
    assert.equal(await serving.stop(), 130)
    assert.match(
      serving.log,
      /vmapipe: stopped before the images were complete; the same command continues the restore\n$/,
    )
  })

  test('lists what is damaged, serves on, and ends with 3', limits, async (t) => {
    const made = await makeArchive(t)
    const bytes = readFileSync(made.archive)
    bytes[bytes.indexOf(made.images.a.subarray(3 * MiB, 3 * MiB + 512)) + 3] ^= 1
    writeFileSync(made.archive, bytes)
    const serving = await restoring(t, made)
    await said(serving, /WARNING: a: \d+ bytes at \d+ cannot be restored: .*checksum/)
    assert.match(serving.log, /WARNING: the images are not complete: .*; the parts that exist are served on/)
    const client = await NbdClient.connect({ socketPath: serving.socket, exportName: 'a' })
    await client.read(Buffer.alloc(4096), 0)
    await client.close()
    assert.equal(await serving.stop(), 3)
    assert.match(serving.log, /vmapipe: the images are not complete/)
  })

  test('can be backed up while it restores', limits, async (t) => {
    const made = await makeArchive(t)
    const serving = await restoring(t, made, ['--bwlimit', '500KiB/s'])
    const archive = join(made.dir, 'again.vma.zst')
    const { code, stderr } = await vmapipe(['backup', '--attach', serving.control, '-o', archive])
    assert.equal(code, 0, stderr)
    await assertArchive(t, archive, { a: join(made.dir, 'a'), b: join(made.dir, 'b') })
  })

  test('refuses what makes no sense, in one line', limits, async (t) => {
    const { archive, into, dir } = await makeArchive(t)
    const socket = ['--socket', join(dir, 's')]
    const cases: [string[], RegExp][] = [
      [[archive, into, '--live'], /nothing says where guests connect/],
      [[archive, '--live', ...socket], /--live restores all drives into a folder/],
      [[archive, into, '--live', '-d', 'a=x', ...socket], /into a folder, without --drive/],
      [[archive, into, '--live', '--zeroed', ...socket], /without --zeroed/],
      [[archive, into, ...socket], /only a restore with --live serves guests; add --live/],
    ]
    for (const [args, line] of cases) {
      const outcome = await vmapipe(['restore', ...args])
      assert.match(oneLine(outcome), line)
      assert.equal(outcome.code, 2)
      assert.ok(!existsSync(into))
    }
  })
})
