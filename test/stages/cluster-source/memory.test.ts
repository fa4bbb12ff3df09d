import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { setImmediate } from 'node:timers/promises'
import type { Budget } from '../../../src/core/budget.ts'
import type { ClusterItem } from '../../../src/core/items.ts'
import { definePipeline } from '../../../src/core/pipeline.ts'
import type { StageContext } from '../../../src/core/stage.ts'
import { clusterSource } from '../../../src/stages/cluster-source.ts'
import type { DriveReader } from '../../../src/storage/drive.ts'
import { bound } from '../../support/flow.ts'

const MiB = 1 << 20

/** A drive at rest that is all data. */
function fullDrive(size: number): DriveReader {
  return {
    size,
    async *map(offset, length) {
      yield { offset, length, zero: false }
    },
    read: async (buffer) => void buffer.fill(7),
    close: async () => {},
  }
}

/** The bytes that the scan has on lease when it waits for memory, because the next stage keeps what it got. */
async function mostScanned(buffer: number): Promise<number> {
  let most = 0
  const isWaiting = ({ parts, waiting }: Budget) =>
    [waiting, ...parts.map((part) => part.waiting)].some((count) => count > 0)
  const slow = bound({
    name: 'slow',
    input: 'clusters',
    output: 'nothing',
    create: (_, { budget }: StageContext) => ({
      async write(item: ClusterItem) {
        while (most === 0 && item.kind === 'run' && !isWaiting(budget)) await setImmediate()
        most = Math.max(most, budget.used)
        item.release()
      },
    }),
  })
  await definePipeline([clusterSource({ drives: { a: fullDrive(3 * buffer) } }), slow]).run({ buffer })
  return most
}

describe('a scan of drives at rest', { timeout: 60_000 }, () => {
  test('takes 16 MiB of the budget', async () => {
    const most = await mostScanned(64 * MiB)
    assert.ok(most > 8 * MiB && most <= 16 * MiB, `${most} bytes`)
  })

  test('takes a small budget as a whole', async () => {
    const most = await mostScanned(8 * MiB)
    assert.ok(most > 4 * MiB && most <= 8 * MiB, `${most} bytes`)
  })
})
