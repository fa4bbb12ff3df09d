import type { Command } from 'commander'
import { type CommonFlags, common, examples } from '../flags.ts'

interface Flags extends CommonFlags {
  off?: boolean
}

export function protectCommand(program: Command): void {
  const command = program
    .command('protect')
    .summary('keep an archive from being removed')
    .description(
      'Marks archives so that neither prune nor forget removes them. Their parents stay too.\n\n' +
        'The mark is an empty file ARCHIVE.protected beside the archive, as Proxmox has it.',
    )
    .argument('<archives...>', 'paths, ssh://user@host/path or s3://bucket/name')
    .option('--off', 'end the protection')
    .action(run)
  examples(
    common(command),
    'vmapipe protect /srv/backup/web01/web01-2026-11-28T213500Z.vma.zst',
    'vmapipe protect --off x.vma.zst',
  )
}

async function run(archives: string[], { off = false }: Flags): Promise<void> {
  const { setProtected } = await import('../../catalog/annotations.ts')
  for (const archive of archives) await setProtected(archive, !off)
}
