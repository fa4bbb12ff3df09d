import type { Command } from 'commander'
import { printable } from '../../core/errors.ts'
import { formatBytes } from '../../core/size.ts'
import { examples, type JobFlags, limited } from '../flags.ts'
import { formatDuration } from '../progress/duration.ts'
import { runJob } from '../run-job.ts'
import { percent } from '../summary.ts'
import { columns, count, print } from '../text.ts'

export function verifyCommand(program: Command): void {
  const command = program
    .command('verify')
    .summary('check an archive')
    .description(
      'Checks everything that a restore would: compression, header, extents, and that every cluster of every ' +
        'drive is there once. Says one line a drive. The VMA format has no checksum of the data itself; zstd, LZ4 ' +
        'and gzip archives have one in the compression.',
    )
    .argument('<archive>', 'a path, - for standard input, ssh://user@host/path, exec:COMMAND')
    .action(run)
  examples(
    limited(command, 'the archive'),
    'vmapipe verify vm.vma.zst',
    'vmapipe verify ssh://backup@nas/vm.vma.zst',
    'vmapipe verify --quiet vm.vma.zst && echo whole',
  )
}

async function run(archive: string, { bwlimit, ...flags }: JobFlags): Promise<void> {
  const { verify } = await import('../../jobs/verify.ts')
  const { manifest, drives, seconds } = await runJob('verify', flags, (options) =>
    verify({ ...options, from: archive, bwlimit }),
  )
  if (flags.quiet) return
  const rows = drives.map(({ name, size, clusters, stored }) => [
    `${printable(name)}:`,
    'complete',
    formatBytes(size),
    count(clusters, 'cluster'),
    `${percent(Math.max(0, size - stored), size)} zeros`,
  ])
  const what = `${count(drives.length, 'drive')} and ${count(manifest.configs.length, 'config file')}`
  print(...columns(rows), `the archive is whole: ${what}, checked in ${formatDuration(seconds)}`)
}
