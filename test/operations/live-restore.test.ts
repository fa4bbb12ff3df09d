import assert from 'node:assert/strict'
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { backup } from '../../src/operations/backup.ts'
import { LiveRestore } from '../../src/operations/live-restore.ts'
import { CONFIG, imageAt, MiB, makeArchive, readAll, restoreLive } from '../live/restore/restoring.ts'
import { seed, seeded } from '../support/random.ts'
import { needs } from '../support/tools.ts'

const limits = { timeout: 120_000 }

describe('a live restore', () => {
  for (const extension of ['vma', 'vma.zst']) {
    test(`of a .${extension} serves all drives at once, and makes plain, sparse images of them`, limits, async (t) => {
      const made = await makeArchive(t, extension)
      const { restore, connect } = await restoreLive(t, made)
      const clients = { a: await connect('a'), b: await connect('b') }
      assert.ok((await readAll(clients.a)).equals(made.images.a))
      assert.ok((await readAll(clients.b)).equals(made.images.b))
      await restore.done
      assert.deepEqual(readdirSync(made.into).sort(), ['.restoring', 'disk-a.raw', 'disk-b.raw', 'vm.conf'])
      assert.ok(imageAt(made, 'a').equals(made.images.a))
      assert.ok(imageAt(made, 'b').equals(made.images.b))
      assert.equal(readFileSync(join(made.into, 'vm.conf'), 'utf8'), CONFIG)
      assert.ok(statSync(join(made.into, 'disk-a.raw')).blocks * 512 < 6 * MiB, 'holes are holes')
      assert.deepEqual(restore.progress, { done: 15 * MiB + 1536, total: 15 * MiB + 1536 })
      // It is served on, with what is written now.
      await clients.a.write([Buffer.alloc(5000, 7)], 1000)
      await clients.a.flush()
      assert.ok(imageAt(made, 'a').subarray(1000, 6000).equals(Buffer.alloc(5000, 7)))
      await clients.a.close()
      await clients.b.close()
      await restore.stop()
      assert.deepEqual(readdirSync(made.into).sort(), ['disk-a.raw', 'disk-b.raw', 'vm.conf'])
    })
  }

  test('of what can be read but once unpacks it first', { ...limits, ...needs('zstd') }, async (t) => {
    const made = await makeArchive(t)
    const from = `exec:zstd -c '${made.archive}'`
    const spool = join(made.dir, 'spool')
    const { restore, connect } = await restoreLive(t, { ...made, archive: from }, { spool })
    const client = await connect('a')
    assert.ok((await readAll(client)).equals(made.images.a))
    await client.close()
    await restore.done
    await restore.stop()
    assert.ok(imageAt(made, 'a').equals(made.images.a))
    assert.ok(imageAt(made, 'b').equals(made.images.b))
    assert.deepEqual(readdirSync(spool), [])
  })

  test('never overwrites what guests write, wherever they do', limits, async (t) => {
    const made = await makeArchive(t)
    // Slow enough to be overtaken everywhere.
    const { restore, connect } = await restoreLive(t, made, { bwlimit: 6 * MiB })
    const clients = [await connect('a'), await connect('a'), await connect('a')]
    const model = made.images.a
    const random = seeded(seed)
    t.diagnostic(`seed ${seed}`)
    const below = (n: number) => Math.floor(random() * n)
    const share = model.length / clients.length
    // Each has its part: of writes to the same bytes at once nobody knows which comes last.
    await Promise.all(
      clients.map(async (client, part) => {
        for (let n = 0; n < 120; n++) {
          const length = [1 + below(500), 4096, 1 + below(70_000)][below(3)]
          const offset = part * share + below(share - length)
          const what = below(4)
          if (what === 0) await client.writeZeroes(offset, length)
          else await client.write([Buffer.alloc(length, n + 1)], offset, { fua: below(10) === 0 })
          model.fill(what === 0 ? 0 : n + 1, offset, offset + length)
        }
      }),
    )
    assert.ok((await readAll(clients[0])).equals(model), 'read back')
    await restore.done
    assert.ok((await readAll(clients[0])).equals(model), 'read back when all is there')
    for (const client of clients) await client.close()
    await restore.stop()
    assert.ok(imageAt(made, 'a').equals(model))
    assert.ok(imageAt(made, 'b').equals(made.images.b))
  })

  test('has what a guest read, and what lies around it, before the rest', limits, async (t) => {
    const made = await makeArchive(t)
    const { restore, connect } = await restoreLive(t, made, { bwlimit: 100_000 })
    const client = await connect('b')
    const bytes = Buffer.alloc(4096)
    await client.read(bytes, 3 * MiB - 4096)
    assert.ok(bytes.equals(made.images.b.subarray(3 * MiB - 4096, 3 * MiB)))
    const { done, total } = restore.progress
    assert.ok(done < total)
    await client.close()
    await assert.rejects(
      restore.stop().then(() => restore.done),
      { code: 'ABORTED', message: /the same command continues the restore/ },
    )
    assert.deepEqual(readdirSync(made.into).sort(), ['.restoring', 'vm.conf'], 'no image has a name')
  })

  for (const how of ['from the archive', 'from what was unpacked']) {
    test(`is read at any alignment while it is filled ${how}`, limits, async (t) => {
      const made = await makeArchive(t)
      const archive = how === 'from the archive' ? made.archive : `exec:cat '${made.archive}'`
      const { restore, connect } = await restoreLive(t, { ...made, archive }, { bwlimit: 4 * MiB, spool: made.dir })
      const client = await connect('a')
      const random = seeded(seed)
      t.diagnostic(`seed ${seed}`)
      for (let n = 0; n < 200; n++) {
        const offset = Math.floor(random() * (made.images.a.length - 5000))
        const bytes = Buffer.alloc(1 + Math.floor(random() * 5000))
        await client.read(bytes, offset)
        assert.ok(bytes.equals(made.images.a.subarray(offset, offset + bytes.length)))
      }
      await client.close()
      await restore.done
      await restore.stop()
      assert.ok(imageAt(made, 'a').equals(made.images.a))
    })
  }

  test('that was stopped goes on where it was, with what guests wrote', limits, async (t) => {
    const made = await makeArchive(t)
    const first = await restoreLive(t, made, { bwlimit: 200_000 })
    const client = await first.connect('a')
    await client.write([Buffer.alloc(10_000, 5)], 2 * MiB + 7)
    made.images.a.fill(5, 2 * MiB + 7, 2 * MiB + 7 + 10_000)
    await client.close()
    await first.restore.stop()
    const before = first.restore.progress.done
    assert.ok(before > 0)
    const next = await restoreLive(t, made)
    assert.ok(next.restore.progress.done >= before, 'what was there is not restored again')
    await next.restore.done
    await next.restore.stop()
    assert.ok(imageAt(made, 'a').equals(made.images.a))
    assert.ok(imageAt(made, 'b').equals(made.images.b))
  })

  test(
    'restores all but what is damaged, says what that is, and leaves the images without names',
    limits,
    async (t) => {
      const made = await makeArchive(t)
      const bytes = readFileSync(made.archive)
      const at = bytes.indexOf(made.images.a.subarray(3 * MiB, 3 * MiB + 512))
      bytes[at + 3] ^= 1
      writeFileSync(made.archive, bytes)
      const warnings: string[] = []
      const { restore, connect } = await restoreLive(t, made, { warn: (line) => warnings.push(line) })
      await assert.rejects(restore.done, { code: 'DAMAGED', message: /\d+ bytes cannot be restored/ })
      const [first] = restore.missing
      assert.equal(first.drive, 'a')
      assert.ok(first.offset <= 3 * MiB && first.offset + first.length > 3 * MiB)
      const client = await connect('a')
      await assert.rejects(client.read(Buffer.alloc(512), 3 * MiB))
      assert.match(warnings.join(), /READ of a failed/)
      const held = restore.missing.reduce((sum, { length }) => sum + length, 0)
      assert.equal(restore.progress.done, restore.progress.total - held)
      // A guest may well write there: then it is whole.
      for (const { drive, offset, length } of restore.missing) {
        const guest = await connect(drive)
        await guest.write([Buffer.alloc(length, 1)], offset)
        made.images[drive as 'a' | 'b'].fill(1, offset, offset + length)
        await guest.close()
      }
      await client.close()
      await restore.stop()
      assert.deepEqual(readdirSync(made.into).sort(), ['.restoring', 'vm.conf'])

      const next = await restoreLive(t, made)
      await next.restore.done
      await next.restore.stop()
      assert.ok(imageAt(made, 'a').equals(made.images.a))
    },
  )
})

describe('the folder of a live restore', () => {
  test('has nothing in it that would be overwritten, unless that is allowed', limits, async (t) => {
    const made = await makeArchive(t)
    const done = await restoreLive(t, made)
    await done.restore.done
    await done.restore.stop()
    writeFileSync(join(made.into, 'disk-b.raw'), 'mine')
    const options = { from: made.archive, into: made.into, socket: join(made.dir, 's') }
    await assert.rejects(LiveRestore.open(options), { code: 'FAILED', message: /exists and was not overwritten/ })
    assert.ok(!existsSync(join(made.into, '.restoring')))
    const forced = await restoreLive(t, made, { force: true })
    assert.equal(readFileSync(join(made.into, 'disk-b.raw'), 'utf8'), 'mine', 'until all is there')
    await forced.restore.done
    await forced.restore.stop()
    assert.ok(imageAt(made, 'b').equals(made.images.b))
  })

  test('is not used for another archive than it was begun with', limits, async (t) => {
    const made = await makeArchive(t)
    const begun = await restoreLive(t, made, { bwlimit: 100_000 })
    await begun.restore.stop()
    const other = join(made.dir, 'other.vma')
    await backup({ drives: { a: join(made.dir, 'a'), b: join(made.dir, 'b') }, to: other })
    const options = { from: other, into: made.into, socket: join(made.dir, 's') }
    await assert.rejects(LiveRestore.open(options), { code: 'USAGE', message: /belongs to another archive/ })
  })

  test('is used by one restore at a time', limits, async (t) => {
    const made = await makeArchive(t)
    await restoreLive(t, made, { bwlimit: 100_000 })
    const options = { from: made.archive, into: made.into, socket: join(made.dir, 's') }
    await assert.rejects(LiveRestore.open(options), { code: 'FAILED', message: /in use by this very process/ })
  })
})
