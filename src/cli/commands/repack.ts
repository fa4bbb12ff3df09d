import { type Command, InvalidArgumentError } from 'commander'
import { VmapipeError } from '../../core/errors.ts'
import { collect, examples, type JobFlags, limited, parentsFlag } from '../flags.ts'
import { encryptionOf, type KeyFlags, keyFlags, keyringOf, type RecipientFlags, recipientFlags } from '../keys.ts'
import { type ObjectFlags, objectFlags, objectOf } from '../object-flags.ts'
import { runOperation } from '../run-operation.ts'
import { repackSummary } from '../summary.ts'
import { vmid } from './backup-proxmox.ts'

interface Flags extends JobFlags, KeyFlags, RecipientFlags, ObjectFlags {
  output: string
  compress?: string
  drive?: string[]
  without?: string[]
  uuid?: string
  ctime?: number
  keepOrder?: boolean
  parents?: string[]
  spool?: string
  forProxmox?: number
  notesTemplate?: string
  force?: boolean
  checksums: boolean
  index: boolean
}

export function repackCommand(program: Command): void {
  const command = program
    .command('repack')
    .summary('rewrite an archive: in order, with another compression, or with fewer drives')
    .description(
      'Rewrites an archive: the clusters of each drive in order, one drive after the other, with checksums and an ' +
        'index, in any compression. A change in one place of a drive then moves nothing in other places, so a store that ' +
        'finds duplicates finds the rest, best in an archive that is not compressed.\n\n' +
        'ARCHIVE is a path, - for standard input, ssh://user@host/path, s3://bucket/name or exec:COMMAND. An archive that can only be read ' +
        'from front to back is first unpacked into sparse temporary files, except with --keep-order.\n\n' +
        'Of an incremental archive and its parents, which are found beside it, a full archive is made, with a uuid of its ' +
        'own. With --keep-order it stays incremental.',
    )
    .argument('<archive>', 'the archive to read')
    .requiredOption('-o, --output <target>', 'the new archive')
    .option(
      '--compress <method>',
      'zstd[:LEVEL], lz4, gzip[:LEVEL], each with ,frame=128KiB for fast random reads, or none; by default the name of TARGET decides',
    )
    .option('-d, --drive <name>', 'only this drive; any number of times', collect)
    .option('--without <name>', 'all drives but this one; any number of times', collect)
    .option('--uuid <uuid>', 'uuid of the new archive; that of the old one by default', uuid)
    .option('--ctime <seconds>', 'time of the new archive since the epoch; that of the old one by default', seconds)
    .option('--keep-order', 'keep the order of the clusters')
    .option(
      '--for-proxmox <vmid>',
      "make it an archive that Proxmox's qmrestore takes, with a config made of what is known of the guest; -o DIR/ gives it a name of Proxmox",
      vmid,
    )
    .option('--notes-template <text>', "with --for-proxmox: notes beside the archive; '{{guestname}}' by default")
    .option('--spool <dir>', 'folder for unpacked drives; the folder for temporary files by default')
    .option('-f, --force', 'replace an archive that exists')
    .option('--no-checksums', 'leave out the checksums of the data and the hashes of clusters')
    .option('--no-index', 'leave out the index; with --no-checksums the archive is as the real tool would write it')
    .action(run)
  parentsFlag(command)
  examples(
    recipientFlags(keyFlags(objectFlags(limited(command, 'the archive')))),
    'vmapipe repack night7.vmi.zst -o week.vma.zst',
    'vmapipe repack vm.vma.zst --for-proxmox 100 -o /var/lib/vz/dump/',
    'vmapipe repack vm.vma.lzo --spool /var/tmp -o vm.vma.zst',
    'vmapipe repack vm.vma.zst --without drive-scsi1 --compress zstd:19 -o small.vma.zst',
    'vmapipe repack vm.vma.zst --uuid 00000000-0000-4000-8000-000000000000 --ctime 0 -o - | restic backup --stdin',
  )
}

async function run(
  archive: string,
  {
    output,
    drive,
    without,
    bwlimit,
    identity,
    passphraseFd,
    recipient,
    recipientsFile,
    retainUntil,
    storageClass,
    sse,
    tag,
    notesTemplate,
    ...flags
  }: Flags,
): Promise<void> {
  if (notesTemplate !== undefined && flags.forProxmox === undefined)
    throw new VmapipeError('USAGE', '--notes-template is for an archive for Proxmox', {
      hint: 'add --for-proxmox VMID',
    })
  const { buffer, threads, progress, quiet, verbose, color: _, ...wishes } = flags
  const keys = await keyringOf({ identity, passphraseFd })
  const encrypt = encryptionOf({ recipient, recipientsFile })
  const object = objectOf({ retainUntil, storageClass, sse, tag })
  const { repack } = await import('../../operations/repack.ts')
  await runOperation(
    'repack',
    { buffer, threads, progress, quiet, verbose },
    (options) =>
      repack({
        ...options,
        ...wishes,
        from: archive,
        to: output,
        keys,
        encrypt,
        object,
        bwlimit,
        keep: drive,
        leaveOut: without,
        notes: notesTemplate,
      }),
    repackSummary,
  )
}

function uuid(text: string): string {
  if (!/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(text))
    throw new InvalidArgumentError('write it as 01234567-89ab-4cde-8f01-23456789abcd')
  return text.toLowerCase()
}

function seconds(text: string): number {
  if (!/^\d{1,12}$/.test(text)) throw new InvalidArgumentError('write it as 1700000000')
  return Number(text)
}
