/** What the requests cost with which the point in time is pulled from a QEMU. */

import { formatBytes } from '../../src/core/size.ts'
import { NbdClient } from '../../src/protocol/nbd/client.ts'
import { median } from '../statistics.ts'
import type { Settings, Table } from '../topic.ts'
import { Drives } from './drives.ts'

const SIZES = [4, 16, 64, 256, 1024].map((kib) => kib << 10)
const DEPTHS = [1, 4, 16]
/** Small requests read a part of the drive only, so that they do not take for ever. */
const MOST_REQUESTS = 16384

export async function pull(image: string, { runs, folder, quick }: Settings): Promise<Table> {
  const drives = await Drives.start([image], folder)
  const { qmp, guest } = drives
  const [{ node, device, size }] = drives.drives
  const target = { driver: 'null-co', 'node-name': 'nowhere', size, 'read-zeroes': true }
  await qmp.execute('blockdev-add', target)
  await qmp.execute('blockdev-add', {
    driver: 'copy-before-write',
    'node-name': 'filter',
    file: node,
    target: 'nowhere',
  })
  await qmp.execute(...guest.attach(device, 'filter'))
  await qmp.execute('blockdev-add', { driver: 'snapshot-access', 'node-name': 'snapshot', file: 'filter' })
  await qmp.execute('block-export-add', { type: 'nbd', id: 'snapshot', 'node-name': 'snapshot' })
  const address = { socketPath: drives.socket, exportName: 'snapshot' }
  const rows: string[][] = []
  for (const requestSize of SIZES) {
    const cells: string[] = []
    for (const depth of DEPTHS) {
      const client = await NbdClient.connect(address, { requestSize, depth })
      const bytes = Math.min(size, requestSize * (quick ? MOST_REQUESTS / 16 : MOST_REQUESTS))
      const rates: number[] = []
      for (let run = 0; run <= runs; run++) {
        const rate = await read(client, bytes, requestSize, depth)
        if (run > 0) rates.push(rate)
      }
      cells.push((median(rates) / 2 ** 20).toFixed(0))
      await client.close()
    }
    rows.push([formatBytes(requestSize), ...cells])
    process.stderr.write(`  pull by ${formatBytes(requestSize)}\n`)
  }
  await drives.stop()
  return { head: ['MiB/s pulled, by requests of', ...DEPTHS.map((depth) => `${depth} in flight`)], rows }
}

/** Bytes a second. */
async function read(client: NbdClient, bytes: number, requestSize: number, depth: number): Promise<number> {
  const from = performance.now()
  let next = 0
  const work = async (buffer: Buffer) => {
    while (next < bytes) {
      const at = next
      next += requestSize
      await client.read(buffer.subarray(0, Math.min(requestSize, bytes - at)), at)
    }
  }
  await Promise.all(Array.from({ length: depth }, () => work(Buffer.allocUnsafeSlow(requestSize))))
  return (bytes * 1000) / (performance.now() - from)
}
