import type { Command } from 'commander'
import { formatBytes } from '../../core/size.ts'
import { examples, type RunFlags, running } from '../flags.ts'
import { runJob } from '../run-job.ts'
import { count, tell } from '../text.ts'

interface Flags extends RunFlags {
  force?: boolean
}

export function indexCommand(program: Command): void {
  const command = program
    .command('index')
    .summary('make an index for an archive of another tool')
    .description(
      'Writes ARCHIVE.idx, which has the place of every cluster, so that `cat` and `export` begin at once. ' +
        'Archives of vmapipe have that in them.\n\n' +
        'It is used as long as the archive stays as it is. Of compressed archives only those can have one that are rows of ' +
        'frames which can be decoded by themselves, such as those of pzstd; what `zstd` makes is one long frame.',
    )
    .argument('<archive>', 'path of the archive')
    .option('-f, --force', 'replace an index that exists')
    .action(run)
  examples(running(command), 'vmapipe index vzdump-qemu-100.vma', 'vmapipe index --force vm.vma.zst')
}

async function run(archive: string, { force, ...flags }: Flags): Promise<void> {
  const { indexArchive } = await import('../../jobs/index-archive.ts')
  const report = await runJob('index', flags, (options) =>
    indexArchive({ ...options, archive, ...(force && { force }) }),
  )
  if (flags.quiet) return
  const { path, extents, bytes } = report
  if (path === null) tell(`the archive has an index already, of ${count(extents, 'extent')}`)
  else tell(`${path}: ${count(extents, 'extent')}, ${formatBytes(bytes)}`)
}
