import type { Command } from 'commander'
import { VmapipeError } from '../../core/errors.ts'
import { likelyName } from '../../jobs/names.ts'
import { collect, configRecord, driveRecord, examples, type JobFlags, limited, milliseconds, pairs } from '../flags.ts'
import { formatDuration } from '../progress/duration.ts'
import { runJob } from '../run-job.ts'
import { backupSummary } from '../summary.ts'
import { isOfQemu, type QemuFlags, qemuOptions, refuseQemuFlags, runQemu } from './backup-qemu.ts'

interface Flags extends JobFlags, QemuFlags {
  attach?: string
  maxStall?: number
  drive?: [string, string][]
  config?: string[]
  output: string
  compress?: string
  force?: boolean
  forceShare?: boolean
  checksums: boolean
  index: boolean
  verify?: boolean
}

export function backupCommand(program: Command): void {
  const command = program
    .command('backup')
    .summary('write drives into an archive')
    .description(
      'Writes drives that nobody writes to, and config files, into one VMA archive.\n\n' +
        'SOURCE is a raw image or block device (never probed for a format), qcow2:PATH (vmdk:, vdi:, vhdx: …), ' +
        'nbd://host/export or nbd+unix:///export?socket=PATH.\n\n' +
        'TARGET is a path (there when complete), - for standard output, ssh://user@host/path, or exec:COMMAND, ' +
        'which gets the archive on its standard input.\n\n' +
        'With --attach the drives are those of a running guest whose disk `vmapipe serve` is. ' +
        'With --qmp they are those of a running guest of a stock QEMU, 7.2 or later; `vmapipe drives` shows them.',
    )
    .option('-d, --drive <name=source>', 'a drive; any number of times', drivePairs)
    .option('--attach <control>', 'back up the running guest behind this control socket; -d NAME picks drives')
    .option(
      '--max-stall <time>',
      "with --attach, --qmp: the guest's writes wait no longer; 10s, or as the service has it, unless given",
      milliseconds,
    )
    .option('-c, --config <[name=]file>', 'a config file, carried unchanged; any number of times', collect)
    .option('-o, --output <target>', 'where the archive goes; must be given')
    .allowExcessArguments()
    .option(
      '--compress <method>',
      'zstd[:LEVEL], lz4, gzip[:LEVEL], each with ,frame=128KiB for fast random reads, or none; by the name of TARGET unless given',
    )
    .option('-f, --force', 'replace an archive that exists')
    .option(
      '--force-share',
      'read images that a guest or another program has open for writing: what is read may be torn',
    )
    .option('--no-checksums', 'leave out the checksums of the data')
    .option('--no-index', 'leave out the index; with --no-checksums the archive is as the real tool would write it')
    .option('--verify', 'read the archive back when it is complete and check it; of a damaged one the exit code is 3')
    .action((flags: Given, { args }: Command) => verified(complete(flags, args)))
  qemuOptions(command)
  examples(
    limited(command, 'the drives'),
    'vmapipe backup -d drive-scsi0=disk.raw -c qemu-server.conf -o vm.vma.zst',
    'vmapipe backup -d drive-scsi0=qcow2:disk.qcow2 -c qemu-server.conf=100.conf -o ssh://backup@nas/vm.vma.zst',
    'vmapipe backup --attach /run/vm1.ctl -o vm1.vma.zst',
    'vmapipe backup --qmp /run/vm1.qmp -o vm1.vma.zst',
    'vmapipe backup -d drive-scsi0=disk.raw -o /mnt/nas/vm.vma.zst --verify',
    "vmapipe backup -d drive-scsi0=/dev/vg/vm-100 --compress zstd:9 -o - | ssh nas 'cat > vm.vma.zst'",
  )
}

type Given = Omit<Flags, 'output'> & { output?: string }

/** USAGE, in the order in which people think: what is backed up, then where it goes. */
function complete({ output, ...flags }: Given, words: readonly string[]): Flags {
  const { drive, config, attach } = flags
  if (words.length > 0) {
    const hint = 'such as: vmapipe backup -d drive-scsi0=disk.raw -o vm.vma.zst'
    throw new VmapipeError('USAGE', `'${words[0]}' stands alone; drives and the target are options`, { hint })
  }
  if ((drive ?? config ?? attach) === undefined && !isOfQemu(flags)) {
    const hint = 'name a drive (-d drive-scsi0=disk.raw), or a running guest (--attach, --qmp or --libvirt)'
    throw new VmapipeError('USAGE', 'nothing to back up', { hint })
  }
  if (output === undefined) {
    const hint = 'say where the archive goes, such as -o vm.vma.zst'
    throw new VmapipeError('USAGE', "required option '-o, --output <target>' not specified", { hint })
  }
  return { ...flags, output }
}

/** With --verify, what was written is read back once it has its name. */
async function verified({ verify, ...flags }: Flags): Promise<void> {
  if (!verify) return run(flags)
  const { output, buffer, threads, progress, quiet, verbose } = flags
  const { readBack, refuseUnlessReadable } = await import('../../jobs/read-back.ts')
  await refuseUnlessReadable(output)
  await run(flags)
  await runJob(
    'verify',
    { buffer, threads, progress, quiet, verbose },
    (options) => readBack(output, options),
    (_, { elapsed }) => [`the archive was read back in ${formatDuration(elapsed)}: it is whole`],
  )
}

async function run({ attach, forceShare, ...flags }: Flags): Promise<void> {
  if (attach !== undefined && isOfQemu(flags)) {
    throw new VmapipeError('USAGE', '--attach and --qmp or --libvirt name two guests', { hint: 'give one of them' })
  }
  if (forceShare && (attach !== undefined || isOfQemu(flags))) {
    throw new VmapipeError('USAGE', "--force-share is for images, and these drives are a running guest's", {
      hint: 'leave it out: nothing of them will be torn',
    })
  }
  if (isOfQemu(flags)) return runQemu(flags)
  refuseQemuFlags(flags)
  if (attach !== undefined) return runAttached(attach, flags)
  const { drive = [], config, output, compress, force, bwlimit, maxStall, checksums, index, ...runFlags } = flags
  if (maxStall !== undefined)
    throw new VmapipeError('USAGE', '--max-stall is for a running guest', {
      hint: 'add --attach CONTROL or --qmp SOCKET',
    })
  const bare = drive.find(([, source]) => source === '')
  if (bare !== undefined)
    throw new VmapipeError('USAGE', `drive ${bare[0]} has no source`, { hint: `write it as ${example(bare[0])}` })
  const drives = driveRecord(drive)
  const configs = configRecord(config)
  const { backup } = await import('../../jobs/backup.ts')
  await runJob(
    'backup',
    runFlags,
    (options) => {
      for (const name of Object.keys(drives ?? {})) {
        const likely = likelyName(name)
        if (likely) options.warn?.(`drive ${name}: Proxmox will not find it under this name, it looks for ${likely}`)
      }
      return backup({ ...options, drives, configs, to: output, compress, force, forceShare, bwlimit, checksums, index })
    },
    backupSummary,
  )
}

async function runAttached(
  control: string,
  { drive, config, output, ...flags }: Omit<Flags, 'attach' | 'forceShare'>,
): Promise<void> {
  const { compress, force, bwlimit, maxStall, buffer, checksums, index, ...runFlags } = flags
  const sourced = drive?.find(([, source]) => source !== '')
  if (sourced !== undefined) {
    throw new VmapipeError('USAGE', `drive ${sourced[0]} is the running guest's`, {
      hint: `write -d ${sourced[0]}, without a source`,
    })
  }
  const drives = drive?.map(([name]) => name)
  const configs = configRecord(config)
  const { attach } = await import('../../jobs/attach.ts')
  await runJob(
    'backup',
    runFlags,
    (options, onGuest) =>
      attach({
        ...{
          ...options,
          control,
          drives,
          configs,
          to: output,
          compress,
          force,
          bwlimit,
          maxStall,
          guestBuffer: buffer,
          checksums,
          index,
        },
        onGuest,
      }),
    backupSummary,
  )
}

/** With the name that was given, if it is one: a path was meant to be the source. */
function example(given: string): string {
  return /[./]/.test(given) ? `drive-scsi0=${given}` : `${given}=disk.raw`
}

/** `NAME=SOURCE`, or `NAME` alone of a running guest. */
function drivePairs(text: string, before: [string, string][] = []): [string, string][] {
  return text.includes('=') ? pairs('drive-scsi0=disk.raw')(text, before) : [...before, [text, '']]
}
