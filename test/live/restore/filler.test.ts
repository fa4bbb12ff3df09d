import assert from 'node:assert/strict'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import type { ImageReader } from '../../../src/access/image-reader.ts'
import { Budget } from '../../../src/core/budget.ts'
import { Demand } from '../../../src/live/restore/demand.ts'
import { FILL_BYTES, Filler } from '../../../src/live/restore/filler.ts'
import { openOverlay } from '../../../src/storage/disks/overlay/open-overlay.ts'
import { OverlayDisk } from '../../../src/storage/disks/overlay/overlay-disk.ts'
import { openRawReader } from '../../../src/storage/raw-drive.ts'
import { sampleImage, writeSparse } from '../../storage/contract.ts'
import { identityOf } from '../../storage/disks/overlay/overlays.ts'
import { tmpDir } from '../../support/tmp.ts'

const limits = { timeout: 60_000 }
const MiB = 2 ** 20

interface Changes {
  /** In the place of writes to the image. */
  write?: () => Promise<void>
  /** Throws where the archive does not have these bytes. */
  read?: (offset: number, length: number) => void
}

async function filling(t: TestContext, { write, read }: Changes = {}) {
  const dir = tmpDir(t)
  const image = sampleImage(12 * MiB)
  writeSparse(join(dir, 'drive'), image)
  const reader = await openRawReader(join(dir, 'drive'))
  const reads: number[] = []
  const source = {
    size: reader.size,
    map: reader.map.bind(reader),
    close: () => reader.close(),
    async read(buffer: Uint8Array, offset: number) {
      reads.push(offset)
      read?.(offset, buffer.length)
      await reader.read(buffer, offset)
    },
  } as unknown as ImageReader
  const files = await openOverlay(join(dir, 'image'), identityOf(image.length, { purpose: 'restore' }))
  if (write !== undefined) Object.assign(files.blocks, { write })
  const overlay = new OverlayDisk(source, files)
  t.after(() => overlay.close())
  const demand = new Demand()
  const stop = new AbortController()
  const memory = new Budget(FILL_BYTES)
  const filler = new Filler([{ name: 'd', overlay, source }], { memory, demand, signal: stop.signal })
  return { image, overlay, demand, filler, reads, stop, memory }
}

test('the rest waits while a guest waits for the archive, and what it wants does not', limits, async (t) => {
  const { overlay, demand, filler, reads, image } = await filling(t)
  let answer = () => {}
  const reading = new Promise<void>((resolve) => {
    answer = resolve
  })
  const demanded = demand.of(reading)
  filler.want(0, 12 * MiB - 8192, 4096)
  const running = filler.run()
  // The cluster that is wanted, and 4 MiB before it.
  const wanted = 4 * MiB + 65536
  while (overlay.held < wanted) await new Promise((go) => setImmediate(go))
  for (let turn = 0; turn < 50; turn++) await new Promise((go) => setImmediate(go))
  assert.equal(overlay.held, wanted, 'the rest waits')
  assert.ok(reads.every((offset) => offset >= 12 * MiB - wanted))
  answer()
  await demanded
  await running
  assert.ok(overlay.isComplete)
  const bytes = Buffer.alloc(image.length)
  await overlay.read(bytes, 0)
  assert.ok(bytes.equals(image))
})

test('an image that cannot be written ends it, and gives all memory back', limits, async (t) => {
  const write = async () => {
    throw Object.assign(new Error('full'), { code: 'ENOSPC' })
  }
  const { filler, memory, overlay, image } = await filling(t, { write })
  await assert.rejects(filler.run(), { code: 'ENOSPC' })
  assert.equal(memory.used, 0)
  const bytes = Buffer.alloc(4096)
  await overlay.read(bytes, 0)
  assert.ok(bytes.equals(image.subarray(0, 4096)), 'the guest reads on')
})

test('what cannot be read is told by cluster, and what failed once alone is not', limits, async (t) => {
  const bad = 3 * MiB + 2 * 65536
  let once = true
  const { filler, overlay } = await filling(t, {
    read: (offset, length) => {
      if (offset < MiB && once) {
        once = false
        throw new Error('a moment')
      }
      if (offset < bad + 10 && bad < offset + length) throw Object.assign(new Error('rotten'), { code: 'EIO' })
    },
  })
  await filler.run()
  assert.deepEqual(
    filler.missing.map(({ drive, offset, length }) => [drive, offset, length]),
    [['d', bad, 65536]],
  )
  assert.equal(overlay.held, overlay.size - 65536)
})

test('it ends when it is told to, in the middle', limits, async (t) => {
  const { filler, overlay, stop, memory } = await filling(t, { read: () => stop.abort() })
  await filler.run()
  assert.ok(!overlay.isComplete)
  assert.equal(memory.used, 0)
})
