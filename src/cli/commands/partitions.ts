import type { Command } from 'commander'
import { printable, typableName } from '../../core/errors.ts'
import { formatBytes } from '../../core/size.ts'
import type { PartitionTable } from '../../operations/partitions.ts'
import { type CommonFlags, common, examples, parentsFlag } from '../flags.ts'
import { type KeyFlags, keyFlags, keyringOf } from '../keys.ts'
import { interruptible } from '../signals.ts'
import { columns, noteLine, print, shellWords, styled } from '../text.ts'

interface Flags extends CommonFlags, KeyFlags {
  json?: boolean
  parents?: string[]
  spool?: string
}

export function partitionsCommand(program: Command): void {
  const command = program
    .command('partitions')
    .summary('print the partition table of a drive in an archive')
    .description(
      'Prints the partitions of a drive in an archive, GPT or MBR, and the command that copies the filesystem of each. ' +
        'Only the table is read.',
    )
    .argument('<archive>', 'the archive to read')
    .argument('<drive>', 'name of the drive, as `vmapipe list` prints it')
    .option('--spool <dir>', 'folder for unpacked drives; the folder for temporary files by default')
    .option('--json', 'as JSON, offsets and lengths in bytes')
    .action(run)
  parentsFlag(command)
  examples(
    keyFlags(common(command)),
    'vmapipe partitions vm.vma.zst drive-scsi0',
    "vmapipe partitions --json vm.vma.zst drive-scsi0 | jq '.partitions[].offset'",
  )
}

async function run(archive: string, drive: string, { json, parents, spool, ...flags }: Flags): Promise<void> {
  const keys = await keyringOf(flags)
  const { readPartitions } = await import('../../operations/partitions.ts')
  const { signal, dispose } = interruptible()
  const warn = (message: string) => process.stderr.write(`${noteLine('warning', message)}\n`)
  const table = await readPartitions({
    from: archive,
    drive,
    keys,
    parents,
    signal,
    warn,
    ...(spool && { spool }),
  }).finally(dispose)
  for (const problem of table.problems) warn(`${drive}: ${problem}`)
  print(...(json ? [JSON.stringify(table, null, 2)] : tableLines(table, { archive, drive, spool })))
}

interface Asked {
  archive: string
  drive: string
  spool: string | undefined
}

function tableLines({ scheme, partitions }: PartitionTable, { archive, drive, spool }: Asked): string[] {
  if (scheme === null) return [`${printable(drive)} has no partition table; it may be a filesystem as it is`]
  const rows = partitions.map(({ number, offset, length, typeName, name = '' }) => [
    ...[String(number), String(offset), String(length), formatBytes(length)],
    ...[typeName, printable(name)],
  ])
  const [heads, ...lines] = columns([['NUMBER', 'OFFSET', 'LENGTH', 'SIZE', 'TYPE', 'NAME'], ...rows])
  const words = shellWords([archive, typableName(drive)])
  const isOption = [archive, drive].some((word) => word.startsWith('-') && word !== '-')
  const spooled = spool === undefined ? [] : ['--spool', spool]
  const commands = partitions
    .filter(({ extended }) => !extended)
    .map(({ number, offset, length }) => {
      const options = `${shellWords(spooled)} --offset ${offset} --length ${length}`.trimStart()
      const command = isOption ? `${options} -- ${words}` : `${words} ${options}`
      return `vmapipe cat ${command} > partition-${number}.img`
    })
  return [styled('bold', heads), ...lines, '', ...commands]
}
