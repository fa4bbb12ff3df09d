/**
 * A stage of one's own: the SHA-256 of the archive, in a file beside it that `sha256sum -c` reads.
 *
 *   vmapipe run pipelines/custom-stage.ts --set DISK=disk.raw --set ARCHIVE=vm.vma.zst
 */

import { createHash } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { basename } from 'node:path'
import { defineStage, z } from 'vmapipe'

const sha256 = defineStage({
  name: 'sha256',
  summary: 'writes the SHA-256 of what passes to a file',
  input: 'bytes',
  output: 'bytes',
  options: z.strictObject({ of: z.string() }),
  create({ of }) {
    const hash = createHash('sha256')
    return {
      transform(chunk, push) {
        for (const buffer of chunk.buffers) hash.update(buffer)
        push(chunk)
      },
      flush: () => writeFile(`${of}.sha256`, `${hash.digest('hex')}  ${basename(of)}\n`),
    }
  },
})

/** Called with what `--set` gives. Stages are written as in a YAML config, or made by calling them. */
export default ({ DISK = 'disk.raw', ARCHIVE = 'vm.vma.zst' }: Record<string, string>) => ({
  name: 'backup',
  stages: [
    { 'cluster-source': { drives: { 'drive-scsi0': DISK } } },
    'zero-elider',
    'vma-framer',
    'compressor',
    sha256({ of: ARCHIVE }),
    { sink: { to: ARCHIVE } },
  ],
})
