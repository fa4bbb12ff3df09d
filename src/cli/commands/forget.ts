import type { Command } from 'commander'
import { printable } from '../../core/errors.ts'
import { formatBytes } from '../../core/size.ts'
import { type CommonFlags, common, examples } from '../flags.ts'
import { type KeyFlags, keyFlags, keyringOf } from '../keys.ts'
import { interruptible } from '../signals.ts'
import { noteLine, tell } from '../text.ts'

interface Flags extends CommonFlags, KeyFlags {
  withChildren?: boolean
}

export function forgetCommand(program: Command): void {
  const command = program
    .command('forget')
    .summary('remove an archive')
    .description(
      'Removes an archive with all that is beside it: volumes, index, notes, results of checks.\n\n' +
        'An archive that is protected, that others need as their parent, or that is being read is not removed.',
    )
    .argument('<archive>', 'a path, ssh://user@host/path or s3://bucket/name')
    .option('--with-children', 'remove the incremental archives that need it too')
    .action(run)
  examples(
    keyFlags(common(command)),
    'vmapipe forget /srv/backup/web01/web01-2026-11-28T213500Z.vmi.zst',
    'vmapipe forget --with-children sunday.vma.zst',
  )
}

async function run(archive: string, { withChildren, ...flags }: Flags): Promise<void> {
  const keys = await keyringOf(flags)
  const { forget } = await import('../../catalog/forget.ts')
  const { signal, dispose } = interruptible()
  const warn = (message: string) => process.stderr.write(`${noteLine('warning', message)}\n`)
  const onRemoved = ({ place, size }: { place: string; size: number }) =>
    tell(`removed ${printable(place)}, ${formatBytes(size)}`)
  await forget(archive, { withChildren, keys, signal, warn, onRemoved }).finally(dispose)
}
