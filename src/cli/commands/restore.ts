import type { Command } from 'commander'
import { driveRecord, examples, type JobFlags, limited, pairs, parentsFlag } from '../flags.ts'
import { type KeyFlags, keyFlags, keyringOf } from '../keys.ts'
import { runOperation } from '../run-operation.ts'
import { restoreSummary } from '../summary.ts'
import { DOMAIN_HELP, type DomainFlags, domainFlags, runDomain, runLiveDomain, wantsDomain } from './restore-domain.ts'
import { FOLDER_HELP, type FolderFlags, folderFlags, runFolder } from './restore-folder.ts'
import { LIVE_HELP, type LiveFlags, liveFlags, runLive, wantsLive } from './restore-live.ts'

interface Flags extends JobFlags, LiveFlags, KeyFlags, DomainFlags, FolderFlags {
  drive?: [string, string][]
  zeroed?: boolean
  force?: boolean
  mode?: string
  salvage?: boolean
}

export function restoreCommand(program: Command): void {
  const command = program
    .command('restore')
    .summary('write an archive back to drives')
    .description(
      'Writes the drives and config files of an archive into a folder, as `vma extract` names them ' +
        '(disk-NAME.raw), or only the drives given with -d, to their targets.\n\n' +
        'The parents of an incremental archive are found beside it, whatever their names are, or at --parents.\n\n' +
        'ARCHIVE is a path, - for standard input, ssh://user@host/path, s3://bucket/name or exec:COMMAND; zstd, LZ4, gzip, lzop, bzip2 and xz ' +
        'are recognised. An archive in volumes is named by its first, such as ssh://nas/srv/vm.vma.zst.000.\n\n' +
        'TARGET is a raw image or block device, qcow2:PATH (vmdk:, vdi:, vhdx: …), nbd:// or nbd+unix://.\n\n' +
        'If the archive is damaged, the whole drives are restored. The name of a drive that is not whole ends with ' +
        '.damaged. With --salvage it gets its final name, and the ranges of bytes that are damaged (kept as they were ' +
        'read) or missing (zeroes) are listed. The exit code is 3 in both cases.\n\n' +
        `${FOLDER_HELP}\n\n` +
        `${DOMAIN_HELP}\n\n` +
        LIVE_HELP,
    )
    .argument('<archive>', 'the archive to read')
    .argument('[dir]', 'folder for everything; it is made if it does not exist')
    .option(
      '-d, --drive <name=target>',
      'restore this drive to TARGET; any number of times',
      pairs('drive-scsi0=disk.raw'),
    )
    .option('--zeroed', 'the targets read as zeroes already: zeroes are not written')
    .option('-f, --force', 'overwrite files that exist')
    .option('--mode <mode>', 'permissions of images and config files, such as 0640; 0600 by default')
    .option('--salvage', 'restore what can be read of a damaged or cut archive, and list the rest')
  folderFlags(command)
  liveFlags(domainFlags(parentsFlag(command))).action(run)
  examples(
    keyFlags(limited(command, 'the archive')),
    'vmapipe restore vm.vma.zst vm/',
    'vmapipe restore vm.vma.zst --drive drive-scsi0=qcow2:disk.qcow2',
    'ssh nas cat vm.vma.zst | vmapipe restore - vm/',
    'vmapipe restore damaged.vma.zst vm/ --salvage',
    'vmapipe restore vm.vma.zst vm/ --qemu && vm/run.sh',
    'vmapipe restore vm.vma.zst vm/ --live --socket /run/vm1.nbd',
    'vmapipe restore vm.vma.zst --define --pool default --start',
    'vmapipe restore vm.vma.zst --libvirt vm1-copy --new-uuid --new-mac',
    'vmapipe restore vm.vma.zst --define --live',
  )
}

async function run(archive: string, dir: string | undefined, flags: Flags): Promise<void> {
  const { drive, zeroed, force, mode, salvage, parents, bwlimit, identity, passphraseFd, format, ...rest } = flags
  const others = [drive && '--drive', zeroed && '--zeroed', salvage && '--salvage']
  const kinds = [flags.qemu && '--qemu', flags.configsOnly && '--configs-only']
  const refused = [...others, ...kinds]
  if (wantsDomain(flags))
    return wantsLive(flags) ? runLiveDomain(archive, dir, flags, refused) : runDomain(archive, dir, flags, refused)
  if (wantsLive(flags)) return runLive(archive, dir, flags, [...refused, format && '--format'])
  if (flags.qemu || flags.configsOnly) return runFolder(archive, dir, flags)
  const drives = driveRecord(drive)
  const keys = await keyringOf({ identity, passphraseFd })
  const { restore } = await import('../../operations/restore.ts')
  await runOperation(
    'restore',
    rest,
    (options) =>
      restore({
        ...options,
        from: archive,
        into: dir,
        ...(format && { format }),
        drives,
        zeroed,
        force,
        mode,
        salvage,
        parents,
        bwlimit,
        keys,
      }),
    restoreSummary,
  )
}
