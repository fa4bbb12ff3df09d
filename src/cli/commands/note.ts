import type { Command } from 'commander'
import { printable, VmapipeError } from '../../core/errors.ts'
import { type CommonFlags, common, examples } from '../flags.ts'
import { print } from '../text.ts'

interface Flags extends CommonFlags {
  remove?: boolean
}

export function noteCommand(program: Command): void {
  const command = program
    .command('note')
    .summary('write a note beside an archive, or show it')
    .description(
      'Writes a note beside an archive, which `archives` shows, in place of one that is there. Without a text it prints the note.\n\n' +
        'The note is a text file ARCHIVE.notes beside the archive, as Proxmox has it.',
    )
    .argument('<archive>', 'a path, ssh://user@host/path or s3://bucket/name')
    .argument('[text]', 'the note')
    .option('--remove', 'remove the note')
    .action(run)
  examples(
    common(command),
    "vmapipe note x.vma.zst 'before the upgrade'",
    'vmapipe note x.vma.zst',
    'vmapipe note --remove x.vma.zst',
  )
}

async function run(archive: string, text: string | undefined, { remove = false }: Flags): Promise<void> {
  if (remove && text !== undefined)
    throw new VmapipeError('USAGE', 'a note and --remove were given', { hint: 'give one of them' })
  const { readAnnotations, setNotes } = await import('../../catalog/annotations.ts')
  if (remove || text !== undefined) return setNotes(archive, text ?? null)
  const { notes } = await readAnnotations(archive)
  if (notes !== null) print(...notes.split('\n').map(printable))
}
