import { isatty } from 'node:tty'
import { type Command, InvalidArgumentError } from 'commander'
import { asVmapipeError, VmapipeError } from '../../core/errors.ts'
import { parseBytes } from '../../core/size.ts'
import { examples, parentsFlag, type RunFlags, running } from '../flags.ts'
import { type KeyFlags, keyFlags, keyringOf } from '../keys.ts'
import { runOperation } from '../run-operation.ts'

interface Flags extends RunFlags, KeyFlags {
  offset?: number
  length?: number
  parents?: string[]
  spool?: string
}

export function catCommand(program: Command): void {
  const command = program
    .command('cat')
    .summary('write a drive of an archive to standard output')
    .description(
      'Writes a drive of an archive as a raw image to standard output, in order, holes as zeroes. Of a part of the drive, ' +
        'little more is read than that part.\n\n' +
        'ARCHIVE is a path, ssh://user@host/path or s3://bucket/name. An archive that can only be read from front to back (- for ' +
        'standard input, exec:COMMAND, a compressed archive of another tool) is first unpacked into a sparse ' +
        'temporary file. A message says how large it may be, and it is refused if there is no room.',
    )
    .argument('<archive>', 'the archive to read')
    .argument('<drive>', 'name of the drive; `vmapipe list` shows them')
    .option('--offset <size>', 'first byte', bytes)
    .option('--length <size>', 'how much to write', bytes)
    .option('--spool <dir>', 'folder for unpacked drives; the folder for temporary files by default')
    .action(run)
  parentsFlag(command)
  examples(
    keyFlags(running(command)),
    'vmapipe cat vm.vma.zst drive-scsi0 | sha256sum',
    'vmapipe cat vm.vma.zst drive-scsi0 | ssh nas dd of=/dev/vg/vm',
    'vmapipe cat vm.vma.zst drive-scsi0 --offset 1MiB --length 512MiB > esp.img',
    'ssh nas cat vm.vma.zst | vmapipe cat - drive-scsi0 --spool /var/tmp > disk.raw',
  )
}

/** Error codes of a write if the reader is gone. */
const NOBODY_READS = new Set(['EPIPE', 'ECONNRESET', 'ECANCELED', 'ERR_STREAM_DESTROYED', 'ERR_STREAM_PREMATURE_CLOSE'])

async function run(archive: string, drive: string, flags: Flags): Promise<void> {
  const { offset, length, parents, spool, identity, passphraseFd, ...rest } = flags
  if (isatty(1))
    throw new VmapipeError('USAGE', 'standard output is a terminal, and a disk image is not text', {
      hint: 'redirect standard output into a file or a pipe',
    })
  const part = { ...(offset !== undefined && { offset }), ...(length !== undefined && { length }) }
  const keys = await keyringOf({ identity, passphraseFd })
  const { cat } = await import('../../operations/cat.ts')
  try {
    await runOperation('cat', rest, (options) =>
      cat({ ...options, ...part, from: archive, drive, keys, parents, ...(spool && { spool }) }),
    )
  } catch (error) {
    // The reader has enough, as after `| head`.
    const { cause } = asVmapipeError(error)
    if (!NOBODY_READS.has((cause as NodeJS.ErrnoException)?.code ?? '')) throw error
    process.exitCode = 1
  }
}

function bytes(text: string): number {
  const number = parseBytes(text)
  if (number === undefined) throw new InvalidArgumentError('write it as 1MiB')
  return number
}
