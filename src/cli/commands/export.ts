import type { Command } from 'commander'
import { bufferFlag, collect, common, examples, parentsFlag } from '../flags.ts'
import { type KeyFlags, keyFlags, keyringOf } from '../keys.ts'
import { checkServing, type ServingFlags, serveUntilStopped, servingFlags, speaker } from '../serving.ts'
import { socketAccess } from '../socket-access.ts'
import { noteLine } from '../text.ts'

interface Flags extends ServingFlags, KeyFlags {
  drive?: string[]
  overlay?: string
  parents?: string[]
  spool?: string
  buffer?: number
}

export function exportCommand(program: Command): void {
  const command = program
    .command('export')
    .summary('serve the drives of an archive by NBD, to read files from or to boot from')
    .description(
      'Serves every drive of an archive as an NBD export, without unpacking it: read-only, or with --overlay writable, ' +
        'so that a guest boots from its backup. The archive is never changed. Reads of damaged bytes fail; all other ' +
        'bytes can be read.\n\n' +
        'An overlay is a sparse file for each drive, and a map of what is in it. It can be used again, by one export at ' +
        'a time, with the same archive. SIGTERM ends the export in good order.',
    )
    .argument('<archive>', 'the archive to read')
    .option('-d, --drive <name>', 'this drive alone; any number of times', collect)
    .option('--overlay <dir>', 'make the exports writable; what guests write goes into files in this folder')
    .option('--spool <dir>', 'folder for unpacked drives; the folder for temporary files by default')
  keyFlags(parentsFlag(servingFlags(command))).action(run)
  examples(
    common(bufferFlag(command, 'memory for reading the archive')),
    'vmapipe export vm.vma.zst --socket /run/vm1.nbd',
    "nbdcopy 'nbd+unix:///drive-scsi0?socket=/run/vm1.nbd' disk.raw",
    'vmapipe export vm.vma.zst --overlay changes/ --socket /run/vm1.nbd',
  )
}

async function run(
  archive: string,
  { drive, overlay, parents, spool, buffer, identity, passphraseFd, ...flags }: Flags,
): Promise<void> {
  checkServing(flags)
  const { socket, listen, control } = flags
  const keys = await keyringOf({ identity, passphraseFd })
  const { exportArchive } = await import('../../operations/export.ts')
  const say = speaker(flags)
  const warn = (message: string) => say(noteLine('warning', message))
  const make = (signal: AbortSignal) =>
    exportArchive({
      from: archive,
      drives: drive,
      overlay,
      parents,
      spool,
      keys,
      buffer,
      socket,
      socketAccess: socketAccess(flags),
      listen,
      control,
      signal,
      warn,
    })
  await serveUntilStopped(make, flags, say)
}
