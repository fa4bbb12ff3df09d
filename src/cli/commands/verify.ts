import { type Command, InvalidArgumentError } from 'commander'
import { asVmapipeError, printable, VmapipeError } from '../../core/errors.ts'
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
  sample?: number
  guest?: string
  record?: boolean
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
        'An archive in volumes is named by its first, vm.vma.zst.000, wherever they are.\n\n' +
        'An incremental archive is checked alone, and its parents must be there. With --chain all archives of the chain are ' +
        'checked, and a root is printed for each drive, which is made of the hashes of its clusters: two archives of the ' +
        'same root hold the same disk, also an incremental archive and the full one that repack has made of it.\n\n' +
        'With --boot the guest is booted from the archive itself, by QEMU, without network, and what it writes is thrown away. ' +
        'It is up when its guest agent answers, a pattern is on its serial console, or its screen comes to rest and answers a key. ' +
        'The result and a picture of the screen are kept beside the archive. If the guest does not come up, the exit code is 3; ' +
        'if that cannot be tried, it is 1.\n\n' +
        'With --sample the argument is a place with many archives. As many of them are verified as have this part of the bytes, those first that ' +
        'were never verified or longest ago. The result is noted beside each, and `vmapipe archives` shows it.',
    )
    .argument('<archive>', 'a path, - for standard input, ssh://user@host/path, s3://bucket/name, exec:COMMAND')
    .option('--json', 'the result as JSON on standard output, with all damage and the ranges of bytes that it is in')
    .option('--chain', 'check the parents of an incremental archive too, and print the root of each drive')
    .option('--record', 'note the result beside the archive, for `vmapipe archives` and `vmapipe prune`')
    .option(
      '--sample <share>',
      'verify this part of the archives of a place, such as 5%, and note the results',
      sharePart,
    )
    .option('--guest <name>', 'with --sample: only archives of this guest')
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
    'vmapipe verify --sample 5% /srv/backup',
    "vmapipe verify --json vm.vma.zst | jq '.missing'",
  )
}

async function run(archive: string, flags: Flags): Promise<void> {
  refuseBootFlags(flags)
  await (flags.boot ? verifyBoot(archive, flags) : verifyData(archive, flags))
}

async function verifyData(
  archive: string,
  { bwlimit, json, chain, parents, identity, passphraseFd, sample, guest, record, ...flags }: Flags,
): Promise<void> {
  if (sample !== undefined) {
    const { verifySampleOf } = await import('./verify-sample.ts')
    return verifySampleOf(archive, { ...flags, bwlimit, json, identity, passphraseFd, sample, guest })
  }
  if (guest !== undefined)
    throw new VmapipeError('USAGE', '--guest is for --sample', { hint: 'name the archive alone' })
  if (record && chain)
    throw new VmapipeError('USAGE', '--record is for one archive', { hint: 'verify each archive of the chain alone' })
  const keys = await keyringOf({ identity, passphraseFd })
  const { withWhatSizeTells } = await import('../../operations/encryption.ts')
  const { verifyChain, verifyWithParents } = await import('../../operations/verify-chain.ts')
  const verify = chain ? verifyChain : verifyWithParents
  const running = runOperation('verify', flags, (options) =>
    verify({ ...options, from: archive, bwlimit, keys, parents }).catch(async (error) => {
      throw keys === undefined ? await withWhatSizeTells(error, archive) : error
    }),
  )
  const checking = record ? recorded(archive, running) : running
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

/** Notes the result beside the archive. What says nothing about the archive is not noted. */
async function recorded<Result extends VerifyResult | ChainVerdict>(
  archive: string,
  running: Promise<Result>,
): Promise<Result> {
  const { recordCheck } = await import('../../catalog/annotations.ts')
  const { checkOfError, passedCheck } = await import('../../catalog/sample.ts')
  try {
    const result = await running
    await recordCheck(archive, passedCheck(result.drives))
    return result
  } catch (error) {
    const check = checkOfError(error)
    if (check !== null) await recordCheck(archive, check)
    throw error
  }
}

function sharePart(text: string): number {
  const [, number, sign] = /^(\d{1,3}(?:\.\d{1,4})?)(%?)$/.exec(text) ?? []
  const share = sign === '%' ? Number(number) / 100 : Number.NaN
  if (!(share > 0 && share <= 1)) throw new InvalidArgumentError('write a part such as 5%')
  return share
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
