import type { Command } from 'commander'
import { printable, VmapipeError } from '../../core/errors.ts'
import { formatBytes } from '../../core/size.ts'
import type { FileEntry } from '../../operations/files/entry.ts'
import type { Filesystem } from '../../operations/files/filesystems.ts'
import type { FilesOptions } from '../../operations/files.ts'
import { bufferFlag, type CommonFlags, common, examples, parentsFlag } from '../flags.ts'
import { type KeyFlags, keyFlags, keyringOf } from '../keys.ts'
import { interruptible } from '../signals.ts'
import { columns, count, noteLine, print, styled } from '../text.ts'

interface Flags extends CommonFlags, KeyFlags {
  output?: string
  recursive?: boolean
  json?: boolean
  parents?: string[]
  spool?: string
  buffer?: number
}

export function filesCommand(program: Command): void {
  const command = program
    .command('files')
    .summary("list and extract files of a guest's filesystems")
    .description(
      'Looks into the filesystems of an archive, without restoring it: without FILESYSTEM it lists them, and without -o it lists files. ' +
        'With -o the files, and folders with all that is in them, are extracted into a new folder, or as a tar to standard output.\n\n' +
        'FILESYSTEM is what the list says: drive-scsi0:1 is the first partition, drive-scsi0 a drive with but one filesystem, ' +
        'lvm:vg/root a volume of LVM.\n\n' +
        'The filesystems are read by guestfish of libguestfs, in a small virtual machine: ext2 to ext4, XFS, Btrfs, NTFS, FAT and what else it ' +
        'knows. No root is needed, and the kernel of this host never sees them. Debian: apt install libguestfs-tools linux-image-amd64.\n\n' +
        'Into a folder nothing is written outside of it, whatever the guest has called its files: symlinks that lead out of it, ' +
        'devices, pipes and sockets are left out with a warning, nothing is setuid, and all belongs to you. A tar has owners, ' +
        'permissions and symlinks as the guest has them.\n\n' +
        'Without libguestfs, root can mount a filesystem (the kernel of this host then reads what the guest has written): `vmapipe export ARCHIVE ' +
        "--overlay DIR --socket S`, `nbdfuse M 'nbd+unix:///DRIVE?socket=S'`, and `mount -o ro,loop,offset=N,nosuid,nodev M/nbd /mnt`, with the " +
        'offset that `vmapipe partitions` prints.',
    )
    .argument('<archive>', 'the archive to read')
    .argument('[filesystem]', 'such as drive-scsi0:1 or lvm:vg/root')
    .argument('[path...]', 'files and folders in it; / by default')
    .option('-o, --output <dir>', 'extract into this new folder; - for a tar to standard output')
    .option('-r, --recursive', 'list what is in folders too')
    .option('--spool <dir>', 'folder for unpacked drives; the folder for temporary files by default')
    .option('--json', 'the list as JSON')
    .action(run)
  parentsFlag(command)
  examples(
    common(bufferFlag(keyFlags(command), 'memory for reading the archive')),
    'vmapipe files vm.vma.zst',
    'vmapipe files vm.vma.zst drive-scsi0:1 /etc',
    'vmapipe files vm.vma.zst lvm:vg0/root /etc /root/.bashrc -o found/',
    'vmapipe files vm.vma.zst drive-scsi0:1 /var/www -o - | ssh web tar x -C /',
  )
}

async function run(from: string, filesystem: string | undefined, paths: string[], flags: Flags): Promise<void> {
  const { output, recursive, json, parents, spool, buffer } = flags
  if (filesystem === undefined && (output !== undefined || recursive))
    throw new VmapipeError('USAGE', 'nothing says which filesystem', { hint: 'vmapipe files ARCHIVE lists them' })
  if (output === '-' && process.stdout.isTTY)
    throw new VmapipeError('USAGE', 'a tar is nothing for a terminal', { hint: 'send it into a file or a pipe' })
  const keys = await keyringOf(flags)
  const operations = await import('../../operations/files.ts')
  const { signal, dispose } = interruptible()
  const warn = (message: string) => process.stderr.write(`${noteLine('warning', message)}\n`)
  const options: FilesOptions = {
    ...{ from, signal, warn },
    ...(filesystem !== undefined && { filesystem }),
    ...(keys && { keys }),
    ...(parents && { parents }),
    ...(spool && { spool }),
    ...(buffer !== undefined && { buffer }),
  }
  const wanted = paths.length === 0 ? ['/'] : paths
  try {
    if (filesystem === undefined) {
      const found = await operations.filesystems(options)
      print(...(json ? [JSON.stringify(found, null, 2)] : filesystemLines(found)))
    } else if (output === undefined) {
      const found = await operations.listFiles(options, wanted, { recursive: recursive ?? false })
      print(...(json ? [JSON.stringify(found, null, 2)] : fileLines(found)))
    } else if (output === '-') await operations.packFiles(options, wanted, process.stdout)
    else {
      const { files, folders, links, bytes, leftOut } = await operations.extractFiles(options, wanted, output)
      const parts = [count(files, 'file'), count(folders, 'folder'), count(links, 'symlink')]
      const rest = leftOut > 0 ? `; ${leftOut} left out` : ''
      print(`extracted ${parts.join(', ')}, ${formatBytes(bytes)}${rest}`)
    }
  } finally {
    dispose()
  }
}

function filesystemLines(found: readonly Filesystem[]): string[] {
  if (found.length === 0) return ['there is no filesystem that can be read']
  const rows = found.map(({ name, type, label, size }) => [
    ...[printable(name), printable(type), size === null ? '?' : formatBytes(size), printable(label)],
  ])
  const [heads, ...lines] = columns([['FILESYSTEM', 'TYPE', 'SIZE', 'LABEL'], ...rows])
  return [styled('bold', heads), ...lines]
}

const KINDS = { file: '-', folder: 'd', symlink: 'l', hardlink: '-', other: '?' }

function fileLines(found: readonly FileEntry[]): string[] {
  const rows = found.map(({ path, type, mode, uid, gid, size, mtime, link }) => [
    `${KINDS[type]}${permissions(mode)}`,
    ...[`${uid}:${gid}`, String(size), timeOf(mtime)],
    `/${printable(path)}${link === undefined ? '' : ` -> ${printable(link)}`}`,
  ])
  return rows.length === 0 ? [] : columns(rows)
}

/** A time that no calendar has stays a number. */
function timeOf(seconds: number): string {
  const date = new Date(seconds * 1000)
  return Number.isNaN(date.getTime()) ? String(seconds) : date.toISOString().slice(0, 19)
}

/** "rwxr-xr-x" */
function permissions(mode: number): string {
  return [6, 3, 0]
    .map((shift) => [...'rwx'].map((letter, index) => ((mode >> shift) & (4 >> index) ? letter : '-')).join(''))
    .join('')
}
