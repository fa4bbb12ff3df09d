/** Reads archives past all damage, in a process of its own: the test runner's look at every promise would cost more than that. */

import { VmapipeError } from '../../src/core/errors.ts'
import { Findings } from '../../src/core/findings.ts'
import { definePipeline } from '../../src/core/pipeline.ts'
import { decompressor } from '../../src/stages/decompressor.ts'
import { vmaDeframer } from '../../src/stages/vma-deframer.ts'
import { chunksOf } from '../support/bytes.ts'
import { cut } from '../support/content.ts'
import { collect } from '../support/flow.ts'

export interface Scan {
  /** Base64; what is repeated behind the archive, and how many bytes of that. */
  archive: string
  unit: string
  bytes: number
}

export interface Scanned {
  /** Seconds of processor time. */
  cpu: number
  /** Seconds in which nobody else had a turn, such as a signal. */
  longest: number
  error: string | null
}

const BUDGET = 40 << 20
const PIECE = 1 << 20

async function scan({ archive, unit, bytes }: Scan): Promise<Scanned> {
  const input = Buffer.concat([Buffer.from(archive, 'base64'), Buffer.alloc(bytes, Buffer.from(unit, 'base64'))])
  const before = process.cpuUsage()
  let longest = 0
  let last = performance.now()
  const look = () => {
    longest = Math.max(longest, performance.now() - last)
    last = performance.now()
  }
  const timer = setInterval(look, 10)
  const findings = new Findings()
  const stages = [
    chunksOf(cut(input, PIECE)),
    decompressor({ findings }),
    vmaDeframer({ findings }),
    collect('clusters', [], { write: (item) => item.release() }),
  ]
  const error = await definePipeline(stages)
    .run({ buffer: BUDGET, threads: 2 })
    .then(
      ({ leaked }) => (leaked === 0 ? null : `${leaked} bytes are still on lease`),
      (error) => (error instanceof VmapipeError && error.exitCode === 3 ? null : String(error)),
    )
  clearInterval(timer)
  look()
  const { user, system } = process.cpuUsage(before)
  return { cpu: (user + system) / 1e6, longest: longest / 1000, error }
}

process.on('message', (wish: Scan) => {
  scan(wish).then((result) => process.send!(result))
})
