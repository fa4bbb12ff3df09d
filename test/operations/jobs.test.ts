import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { PassThrough, Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { test } from 'node:test'
import { VmapipeError } from '../../src/core/errors.ts'
import type { Snapshot } from '../../src/core/meter.ts'
import { backup } from '../../src/operations/backup.ts'
import { readManifest } from '../../src/operations/manifest.ts'
import { restore } from '../../src/operations/restore.ts'
import { verify } from '../../src/operations/verify.ts'
import { sha256, writeGuest } from '../cli/guest.ts'
import { tmpDir } from '../support/tmp.ts'

const limits = { timeout: 120_000 }

test('a job answers with the manifest and what it saw of each drive', limits, async (t) => {
  const dir = tmpDir(t)
  const { disk, config, sha256: before } = writeGuest(dir)
  const to = join(dir, 'a.vma.zst')
  const made = await backup({ drives: { 'drive-scsi0': disk }, configs: { 'qemu-server.conf': config }, to })
  const [drive] = made.drives
  assert.equal(drive.clusters, 75)
  // 171 blocks of noise, 257 of text (it begins within one).
  assert.equal(drive.stored, (171 + 257) * 4096)
  const checked = await verify({ from: to })
  const all = { checked: 75, damaged: { bytes: 0, ranges: [] }, missing: { bytes: 0, ranges: [] } }
  assert.deepEqual(checked.drives, [{ ...drive, ...all }])
  assert.equal(checked.compression!.format, 'zstd')
  assert.ok(made.manifest.uuid.length === 16 && Buffer.compare(checked.manifest.uuid, made.manifest.uuid) === 0)
  const back = await restore({ from: to, into: join(dir, 'out') })
  assert.deepEqual(back.drives, made.drives)
  assert.equal(sha256(join(dir, 'out/disk-drive-scsi0.raw')), before)
  const manifest = await readManifest({ from: to })
  assert.deepEqual(Buffer.from(manifest.configs[0].data), readFileSync(config))
})

test('archives go to and come from Node streams', limits, async (t) => {
  const dir = tmpDir(t)
  const { disk, sha256: before } = writeGuest(dir)
  const stream = new PassThrough()
  const [archive] = await Promise.all([buffer(stream), backup({ drives: { d: disk }, to: stream, compress: 'lz4' })])
  assert.equal(archive.readUInt32LE(0), 0x184d2204)
  await restore({ from: Readable.from([archive]), drives: { d: join(dir, 'back.raw') } })
  assert.equal(sha256(join(dir, 'back.raw')), before)
})

test('an aborted job says so, whatever it was doing', limits, async (t) => {
  const dir = tmpDir(t)
  const { disk } = writeGuest(dir)
  const signal = AbortSignal.timeout(300)
  const run = backup({ drives: { d: disk }, to: join(dir, 'a.vma'), bwlimit: '100KiB/s', signal })
  await assert.rejects(run, (error) => error instanceof VmapipeError && error.code === 'ABORTED')
  await assert.rejects(readManifest({ from: join(dir, 'a.vma'), signal }), { code: 'ABORTED' })
})

test('a job tells how far it is, and what a log should have', limits, async (t) => {
  const dir = tmpDir(t)
  const { disk } = writeGuest(dir)
  const seen: Snapshot[] = []
  const lines: string[] = []
  const options = {
    onProgress: (progress: Snapshot) => seen.push(progress),
    inform: (line: string) => lines.push(line),
  }
  await backup({ drives: { d: disk }, to: join(dir, 'a.vma'), bwlimit: '2MiB/s', ...options })
  assert.ok(seen.length > 1, 'several times')
  assert.ok(
    seen.every(({ done }, at) => done >= (seen[at - 1]?.done ?? 0)),
    'never backwards',
  )
  // Until its drives are open it does not know how much there is.
  assert.ok(seen.every(({ done, percent }) => (percent === null ? done === 0 : percent <= 100)))
  assert.ok(seen.some(({ percent }) => percent !== null))
  assert.match(lines.join('\n'), /^backup of drives at rest, d 4\.7 MiB from .* to .*a\.vma$/)
})

test('a limit limits what is read', limits, async (t) => {
  const dir = tmpDir(t)
  const { disk } = writeGuest(dir)
  const { seconds } = await backup({ drives: { d: disk }, to: join(dir, 'a.vma'), bwlimit: '8MiB/s' })
  // 4.7 MiB are read; a quarter of a second's worth may go ahead.
  assert.ok(seconds > 0.3, `${seconds} s`)
})

test('a limit that is none is refused', limits, async () => {
  await assert.rejects(backup({ drives: { d: 'x' }, to: 'a.vma', bwlimit: 'fast' }), { code: 'USAGE' })
})
