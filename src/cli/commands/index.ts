import type { Command } from 'commander'
import { formatBytes } from '../../core/size.ts'
import { examples, type RunFlags, running } from '../flags.ts'
import { type KeyFlags, keyFlags, keyringOf } from '../keys.ts'
import { runOperation } from '../run-operation.ts'
import { count, tell } from '../text.ts'

interface Flags extends RunFlags, KeyFlags {
  force?: boolean
}

export function indexCommand(program: Command): void {
  const command = program
    .command('index')
    .summary('make an index for an archive of another tool')
    .description(
      'Writes ARCHIVE.idx, which has the place of every cluster, so that `cat` and `export` begin at once. ' +
        'Archives of vmapipe have an index in them.\n\n' +
        'The index is used as long as the archive is not changed. A compressed archive can have one only if it has many ' +
        'independent frames, as those of pzstd have; `zstd` makes one long frame.',
    )
    .argument('<archive>', 'path of the archive')
    .option('-f, --force', 'replace an index that exists')
    .action(run)
  examples(keyFlags(running(command)), 'vmapipe index vzdump-qemu-100.vma', 'vmapipe index --force vm.vma.zst')
}

async function run(archive: string, { force, identity, passphraseFd, ...flags }: Flags): Promise<void> {
  const { indexArchive } = await import('../../operations/index-archive.ts')
  const keys = await keyringOf({ identity, passphraseFd })
  const report = await runOperation('index', flags, (options) =>
    indexArchive({ ...options, archive, keys, ...(force && { force }) }),
  )
  if (flags.quiet) return
  const { path, extents, bytes } = report
  if (path === null) tell(`the archive has an index already, of ${count(extents, 'extent')}`)
  else tell(`${path}: ${count(extents, 'extent')}, ${formatBytes(bytes)}`)
}
