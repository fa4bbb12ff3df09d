/** The beginning of a backup of a running guest: the archive that its service sends. */

import { defineStage, z } from '../../core/stage.ts'
import type { ArchiveResponse } from './archive-response.ts'

/** In pieces of a sixteenth of this the largest extent still fits, wherever it begins. */
const LEAST_MEMORY = 4 << 20

export const serviceSource = defineStage({
  name: 'source',
  summary: "takes an archive from the service that is a running guest's disk",
  input: 'nothing',
  output: 'bytes',
  options: z.strictObject({ response: z.custom<ArchiveResponse>() }),
  create({ response }, { budget, counters, signal }) {
    const close = () => response.close()
    return {
      open() {
        // Other stages have taken their parts by now.
        budget.require(LEAST_MEMORY, 'reading an archive')
        signal.addEventListener('abort', close, { once: true })
      },
      async read() {
        const chunk = await response.read(budget)
        counters.add('read', chunk?.byteLength ?? 0)
        return chunk
      },
      close() {
        signal.removeEventListener('abort', close)
        close()
      },
    }
  },
})
