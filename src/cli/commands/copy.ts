import type { Command } from 'commander'
import { formatBytes } from '../../core/size.ts'
import { examples, type JobFlags, limited, parentsFlag } from '../flags.ts'
import { encryptionOf, type KeyFlags, keyFlags, keyringOf, type RecipientFlags, recipientFlags } from '../keys.ts'
import { runOperation } from '../run-operation.ts'
import { count } from '../text.ts'

interface Flags extends JobFlags, KeyFlags, RecipientFlags {
  force?: boolean
  parents?: string[]
}

export function copyCommand(program: Command): void {
  const command = program
    .command('copy')
    .summary('copy an archive from place to place, checked on its way')
    .description(
      'Copies an archive from one place to another: a path, ssh://user@host/path, s3://bucket/name, - or exec:COMMAND. Everything ' +
        'that verify checks is checked on the way, and the copy appears only if it is whole. An archive in volumes is named by its first, ' +
        'and the copy is one file.\n\n' +
        'If TARGET is a folder (it ends with /), the parents of an incremental archive are copied too, the oldest first. An archive ' +
        'that is there already is not copied again. A copy into a file that was interrupted goes on where it was: its beginning stays ' +
        'in NAME.copying until then.\n\n' +
        'An encrypted archive is copied as it is. It is checked if its key is given. --recipient encrypts the copy, and a name that ' +
        'does not end in .age decrypts it.',
    )
    .argument('<source>', 'the archive to read')
    .argument('<target>', 'where the copy goes')
    .option('-f, --force', 'replace an archive that exists')
    .action(run)
  examples(
    recipientFlags(keyFlags(parentsFlag(limited(command, 'the archive')))),
    'vmapipe copy /srv/backup/vm1.vma.zst ssh://backup@far/srv/vm1.vma.zst --bwlimit 20MiB/s',
    'vmapipe copy /srv/backup/vm1-friday.vmi.zst s3://offsite/vm1/',
    'vmapipe copy s3://offsite/vm1.vma.zst.age vm1.vma.zst --identity key.txt',
  )
}

async function run(from: string, to: string, { bwlimit, identity, passphraseFd, force, parents, ...flags }: Flags) {
  const { recipient, recipientsFile, ...rest } = flags
  const keys = await keyringOf({ identity, passphraseFd })
  const encrypt = encryptionOf({ recipient, recipientsFile })
  const { copy } = await import('../../operations/copy.ts')
  await runOperation(
    'copy',
    rest,
    (options) => copy({ ...options, from, to, keys, encrypt, force, parents, bwlimit }),
    (copied) => copied.map((archive) => lineOf(archive)).concat(copied.length > 1 ? [total(copied)] : []),
  )
}

interface Copied {
  to: string
  bytes: number
  wasThere: boolean
  isChecked: boolean
}

function lineOf({ to, bytes, wasThere, isChecked }: Copied): string {
  if (wasThere) return `${to} was there already`
  return `${to}: ${formatBytes(bytes)} written, ${isChecked ? 'the copy is whole' : 'not checked'}`
}

function total(copied: readonly Copied[]): string {
  const fresh = copied.filter(({ wasThere }) => !wasThere)
  return `${count(copied.length, 'archive')}, of which ${fresh.length} were copied`
}
