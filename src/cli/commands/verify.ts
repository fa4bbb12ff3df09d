import type { Command } from 'commander'
import { asVmapipeError, printable, type VmapipeError } from '../../core/errors.ts'
import { type ArchiveReport, DamagedArchive } from '../../operations/archive-report.ts'
import type { VerifyResult } from '../../operations/verify.ts'
import type { ChainVerdict } from '../../operations/verify-chain.ts'
import { examples, type JobFlags, limited, parentsFlag } from '../flags.ts'
import { type KeyFlags, keyFlags, keyringOf } from '../keys.ts'
import { runOperation } from '../run-operation.ts'
import { count, formatDuration, tell } from '../text.ts'
import { unreadableJson, verdictJson, verdictLines } from '../verdict.ts'
import { type BootFlags, bootFlags, refuseBootFlags, verifyBoot } from '../verify-boot.ts'

interface Flags extends JobFlags, KeyFlags, BootFlags {
  json?: boolean
  chain?: boolean
  parents?: string[]
}

export function verifyCommand(program: Command): void {
  const command = program
    .command('verify')
    .summary('check an archive')
    .description(
      'Reads an archive to its end and checks everything that a restore would: compression, header, extents, that every ' +
        'cluster of every drive is there once, and the checksums of the data. Prints one line for each drive.\n\n' +
        'It goes on behind damage, prints a line for each damaged place, and the exit code is 3. An archive of another ' +
        'tool may have no checksums of its data, or only those of its compression; verify then says so.\n\n' +
        'An incremental archive is checked alone, and its parents must be there. With --chain all archives of the chain are ' +
        'checked, and a root is printed for each drive, which is made of the hashes of its clusters: two archives of the ' +
        'same root hold the same disk, also an incremental archive and the full one that repack has made of it.\n\n' +
        'With --boot the guest is booted from the archive itself, by QEMU, without network, and what it writes is thrown away. ' +
        'It is up when its guest agent answers, a pattern is on its serial console, or its screen comes to rest and answers a key. ' +
        'The result and a picture of the screen are kept beside the archive. If the guest does not come up, the exit code is 3; ' +
        'if that cannot be tried, it is 1.',
    )
    .argument('<archive>', 'a path, - for standard input, ssh://user@host/path, s3://bucket/name, exec:COMMAND')
    .option('--json', 'the result as JSON on standard output, with all damage and the ranges of bytes that it is in')
    .option('--chain', 'check the parents of an incremental archive too, and print the root of each drive')
    .action(run)
  bootFlags(parentsFlag(command))
  examples(
    keyFlags(limited(command, 'the archive')),
    'vmapipe verify vm.vma.zst',
    'vmapipe verify ssh://backup@nas/vm.vma.zst',
    'vmapipe verify --quiet vm.vma.zst && echo whole',
    'vmapipe verify --chain night7.vmi.zst',
    'vmapipe verify --boot vm.vma.zst',
    "vmapipe verify --boot --console-pattern 'login:' --time-limit 10m vm.vma.zst",
    "vmapipe verify --json vm.vma.zst | jq '.missing'",
  )
}

async function run(archive: string, flags: Flags): Promise<void> {
  refuseBootFlags(flags)
  await (flags.boot ? verifyBoot(archive, flags) : verifyData(archive, flags))
}

async function verifyData(
  archive: string,
  { bwlimit, json, chain, parents, identity, passphraseFd, ...flags }: Flags,
): Promise<void> {
  const keys = await keyringOf({ identity, passphraseFd })
  const { withWhatSizeTells } = await import('../../operations/encryption.ts')
  const { verifyChain, verifyWithParents } = await import('../../operations/verify-chain.ts')
  const verify = chain ? verifyChain : verifyWithParents
  const checking = runOperation('verify', flags, (options) =>
    verify({ ...options, from: archive, bwlimit, keys, parents }).catch(async (error) => {
      throw keys === undefined ? await withWhatSizeTells(error, archive) : error
    }),
  )
  if (json) return printJson(archive, checking, flags)
  try {
    const result = await checking
    if (flags.quiet) return
    const what = `${count(result.drives.length, 'drive')} and ${count(result.manifest.configs.length, 'config file')}`
    const whole = `the archive is whole: ${what}, checked in ${formatDuration(result.seconds)}`
    tell(...verdictLines(result), whole, ...chainVerdict(result))
  } catch (error) {
    if (error instanceof DamagedArchive && !flags.quiet) tell(...verdictLines(error.report), 'the archive is damaged')
    throw error
  }
}

/** What is known of a whole chain; nothing if only one archive was checked. */
function chainVerdict(result: VerifyResult | ChainVerdict): string[] {
  if (!('archives' in result)) return []
  return [
    `all ${count(result.archives.length, 'archive')} of the chain are whole`,
    ...result.roots.map(({ drive, root }) => `${printable(drive)}: root ${root}`),
  ]
}

async function printJson(
  archive: string,
  checking: Promise<ArchiveReport | ChainVerdict>,
  { progress }: JobFlags,
): Promise<void> {
  const show = (verdict: object) => tell(JSON.stringify({ archive, ...verdict }, null, 2))
  try {
    const result = await checking
    show({ ...verdictJson(result), ...('archives' in result && { archives: result.archives, roots: result.roots }) })
  } catch (error) {
    const failure = asVmapipeError(error)
    if (!isOfArchive(failure)) throw error
    show(failure instanceof DamagedArchive ? verdictJson(failure.report) : unreadableJson(failure))
    // Everything was said, except for the last record of --progress json.
    if (progress === 'json') throw error
    process.exitCode = failure.exitCode
  }
}

function isOfArchive({ code }: VmapipeError): boolean {
  return code === 'DAMAGED' || code === 'INCOMPLETE'
}
