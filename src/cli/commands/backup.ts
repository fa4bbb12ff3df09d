import type { Command } from 'commander'
import { VmapipeError } from '../../core/errors.ts'
import type { PlannedStage } from '../../operations/plan.ts'
import { collect, configRecord, driveRecord, examples, type JobFlags, limited, milliseconds, pairs } from '../flags.ts'
import {
  encryptionOf,
  keyringOf,
  passphraseFlags,
  type RecipientFlags,
  recipientFlags,
  refuseUnlessReadableBack,
} from '../keys.ts'
import { type ObjectFlags, objectFlags, objectOf } from '../object-flags.ts'
import { type ProxmoxFlags, proxmoxOptions, refuseProxmoxFlags, runProxmox } from './backup-proxmox.ts'
import { isOfQemu, type QemuFlags, qemuOptions, refuseQemuFlags } from './backup-qemu.ts'

interface BackupFlags extends JobFlags, QemuFlags, ProxmoxFlags, RecipientFlags, ObjectFlags {
  passphrase?: boolean
  passphraseFd?: number
  attach?: string
  maxStall?: number
  drive?: [string, string][]
  exclude?: string[]
  config?: string[]
  output: string[]
  also?: string[]
  compress?: string
  since?: string
  guest?: string
  force?: boolean
  forceShare?: boolean
  inOrder?: boolean
  checksums: boolean
  index: boolean
}

interface Flags extends BackupFlags {
  verify?: boolean
  identity?: string[]
  printPipeline?: boolean
}

export function backupCommand(program: Command): void {
  const command = program
    .command('backup')
    .summary('write drives into an archive')
    .description(
      'Writes drives that nobody writes to, and config files, into one VMA archive.\n\n' +
        'SOURCE is a raw image or block device (never probed for a format), qcow2:PATH (vmdk:, vdi:, vhdx: …), ' +
        'nbd://host/export or nbd+unix:///export?socket=PATH.\n\n' +
        'TARGET is a path (the file appears when it is complete), - for standard output, ssh://user@host/path, s3://bucket/name, or exec:COMMAND, ' +
        'which gets the archive on its standard input.\n\n' +
        'With --attach the drives are those of a running guest whose disk is `vmapipe serve`. ' +
        'With --qmp they are those of a running guest of a stock QEMU, 7.2 or later; `vmapipe drives` shows them.',
    )
    .option('-d, --drive <name=source>', 'a drive; any number of times', drivePairs)
    .option('--attach <control>', 'back up the running guest behind this control socket; -d NAME picks drives')
    .option('--exclude <name>', 'leave out a drive of a running guest; any number of times', collect)
    .option(
      '--max-stall <time>',
      "with --attach, --qmp: the longest time that the guest's writes wait; 10s by default, or as the service has it",
      milliseconds,
    )
    .option('-c, --config <[name=]file>', 'a config file, carried unchanged; any number of times', collect)
    .option('-o, --output <target>', 'where the archive goes; given several times, it goes to all of them', collect)
    .option(
      '--also <target>',
      'one more place that is not required: if it fails or is too slow, the backup goes on without it; any number of times',
      collect,
    )
    .allowExcessArguments()
    .option(
      '--compress <method>',
      'zstd[:LEVEL], lz4, gzip[:LEVEL], each with ,frame=128KiB for fast random reads, or none; by default the name of TARGET decides',
    )
    .option(
      '--since <parent>',
      "store only what has changed since this archive, or since the newest one of the guest in the target's folder (auto); TARGET ends in .vmi instead of .vma, or is a folder/",
    )
    .option(
      '--guest <name>',
      'which guest this is, for --since auto; by default a name made of the places of the drives',
    )
    .option('-f, --force', 'replace an archive that exists')
    .option(
      '--force-share',
      'read images that a guest or another program has open for writing: what is read may be torn',
    )
    .option(
      '--in-order',
      'write one drive after the other, for a store that finds duplicates; of a running guest, repack the archive instead',
    )
    .option('--no-checksums', 'leave out the checksums of the data and the hashes of clusters')
    .option('--no-index', 'leave out the index; with --no-checksums the archive is as the real tool would write it')
    .option('--verify', 'read the archive back when it is complete and check it; of a damaged one the exit code is 3')
    .option('--print-pipeline', 'print a config that does the same by `vmapipe run`, and do nothing else')
    .action((flags: Given, { args }: Command) => run(complete(flags, args)))
  qemuOptions(command)
  proxmoxOptions(command)
  examples(
    passphraseFlags(recipientFlags(objectFlags(limited(command, 'the drives')))),
    'vmapipe backup -d drive-scsi0=disk.raw -c qemu-server.conf -o vm.vma.zst',
    'vmapipe backup -d drive-scsi0=qcow2:disk.qcow2 -c qemu-server.conf=100.conf -o ssh://backup@nas/vm.vma.zst',
    'vmapipe backup -d drive-scsi0=disk.raw -o s3://bucket/vm.vma.zst --retain-until 2027-06-01',
    'vmapipe backup --attach /run/vm1.ctl -o vm1.vma.zst',
    'vmapipe backup --qmp /run/vm1.qmp -o vm1.vma.zst',
    "vmapipe backup --proxmox 100 -o /var/lib/vz/dump/ --notes-template '{{guestname}} on {{node}}'",
    'vmapipe backup -d drive-scsi0=disk.raw -o /mnt/nas/vm.vma.zst --verify',
    'vmapipe backup -d drive-scsi0=disk.raw --since auto -o /mnt/nas/vm1/',
    'vmapipe backup -d drive-scsi0=disk.raw --since sunday.vma.zst -o monday.vmi.zst',
    "vmapipe backup -d drive-scsi0=/dev/vg/vm-100 --compress zstd:9 -o - | ssh nas 'cat > vm.vma.zst'",
  )
}

type Given = Omit<Flags, 'output'> & { output?: string[] }

/** Throws USAGE in the order in which people think: first what is backed up, then where it goes. */
function complete({ output, ...flags }: Given, words: readonly string[]): Flags {
  const { drive, config, attach, proxmox } = flags
  if (words.length > 0) {
    const hint = 'such as: vmapipe backup -d drive-scsi0=disk.raw -o vm.vma.zst'
    throw new VmapipeError('USAGE', `'${words[0]}' is no option; drives and the target are given by options`, { hint })
  }
  if ((drive ?? config ?? attach ?? proxmox) === undefined && !isOfQemu(flags)) {
    const hint = 'name a drive (-d drive-scsi0=disk.raw), or a running guest (--attach, --qmp or --libvirt)'
    throw new VmapipeError('USAGE', 'nothing to back up', { hint })
  }
  if (output === undefined) {
    const hint = 'say where the archive goes, such as -o vm.vma.zst'
    throw new VmapipeError('USAGE', "required option '-o, --output <target>' not specified", { hint })
  }
  return { ...flags, output }
}

async function run(given: Flags): Promise<void> {
  const { printPipeline, verify, identity, ...flags } = given
  if (flags.proxmox !== undefined) return ofProxmox({ ...given, proxmox: flags.proxmox })
  refuseProxmoxFlags(flags)
  const plan = await planned(flags)
  if (verify && encryptionOf(flags) !== undefined) refuseUnlessReadableBack({ identity })
  const { attach, buffer, threads, progress, quiet, verbose, stats, output } = flags
  // With --attach the buffer is in the memory of the disk server.
  const limits = { threads, ...(attach === undefined && { buffer }) }
  if (printPipeline) {
    const { pipelineText } = await import('../../config/pipeline-text.ts')
    process.stdout.write(pipelineText({ name: 'backup', ...limits, verify, stages: plan }))
    return
  }
  const keys = await keyringOf({ identity })
  const { boundStages } = await import('../../operations/plan.ts')
  const { runBackupCommand } = await import('../run-backup.ts')
  await runBackupCommand(
    'backup',
    boundStages(plan),
    { ...limits, progress, quiet, verbose, stats },
    verify ? { archives: output, keys } : null,
    keys,
  )
}

async function ofProxmox(flags: Flags & { proxmox: number }): Promise<void> {
  const { verify, identity, buffer, threads, progress, quiet, verbose, stats } = flags
  if (verify && encryptionOf(flags) !== undefined) refuseUnlessReadableBack({ identity })
  const keys = await keyringOf({ identity })
  const run = { buffer, threads, progress, quiet, verbose, stats }
  const archives = await runProxmox(flags, writingOf(flags), run, keys)
  if (!verify) return
  const { readBackAll } = await import('../run-backup.ts')
  await readBackAll(archives.slice(0, flags.output.length), run, keys)
}

/** Makes stages from the flags. Throws USAGE for flags that do not fit together. */
async function planned({
  attach,
  forceShare,
  inOrder,
  exclude,
  ...flags
}: BackupFlags): Promise<readonly PlannedStage[]> {
  if (attach !== undefined && isOfQemu(flags)) {
    throw new VmapipeError('USAGE', '--attach and --qmp or --libvirt name two guests', { hint: 'give one of them' })
  }
  const isOfGuest = attach !== undefined || isOfQemu(flags)
  if (forceShare && isOfGuest) {
    throw new VmapipeError('USAGE', "--force-share is for images, and these drives are a running guest's", {
      hint: 'leave it out: the backup of a running guest is never torn',
    })
  }
  if (inOrder && isOfGuest) {
    throw new VmapipeError('USAGE', 'the archive of a running guest has clusters out of order: its writes come first', {
      hint: 'leave --in-order out, and rewrite the archive: vmapipe repack --compress none',
    })
  }
  if (!isOfQemu(flags)) refuseQemuFlags(flags)
  const { drive = [], maxStall } = flags
  const writing = writingOf(flags)
  if (isOfGuest) {
    if (attach !== undefined) refuseSources(drive)
    const { qmp, sharedMonitor, libvirt, connect, mode, agent, fsfreeze, withRam, socketDir, track } = flags
    const { plannedGuestBackup } = await import('../../operations/backup-guest.ts')
    return plannedGuestBackup({
      ...{
        qmp,
        sharedMonitor,
        libvirt,
        connect,
        attach,
        mode,
        agent,
        fsfreeze,
        withRam,
        socketDir,
        track,
        exclude,
        maxStall,
      },
      ...writing,
      drives: guestDrives(drive),
      guestBuffer: attach === undefined ? undefined : flags.buffer,
    })
  }
  if (maxStall !== undefined) refuseOfGuest('--max-stall')
  if (exclude !== undefined) refuseOfGuest('--exclude')
  const bare = drive.find(([, source]) => source === '')
  if (bare !== undefined)
    throw new VmapipeError('USAGE', `drive ${bare[0]} has no source`, { hint: `write it as ${example(bare[0])}` })
  const { plannedBackup } = await import('../../operations/backup.ts')
  return plannedBackup({ ...writing, drives: driveRecord(drive), forceShare, inOrder })
}

/** What is written, and where to. */
function writingOf(flags: BackupFlags) {
  const { config, output, also = [], compress, since, guest, force, bwlimit, checksums, index } = flags
  const [to, ...required] = output
  const more = [...required.map((place) => ({ to: place })), ...also.map((place) => ({ to: place, required: false }))]
  return {
    ...{ to, also: more, object: objectOf(flags), compress, since, guest, encrypt: encryptionOf(flags) },
    ...{ force, checksums, index, bwlimit, configs: configRecord(config) },
  }
}

function refuseOfGuest(flag: string): never {
  throw new VmapipeError('USAGE', `${flag} is for a running guest`, { hint: 'add --attach CONTROL or --qmp SOCKET' })
}

function refuseSources(drive: readonly [string, string][]): void {
  const sourced = drive.find(([, source]) => source !== '')
  if (sourced === undefined) return
  throw new VmapipeError('USAGE', `drive ${sourced[0]} is the running guest's`, {
    hint: `write -d ${sourced[0]}, without a source`,
  })
}

/** Reads names of drives, or names with nodes of QEMU, without those that are left out. */
function guestDrives(drive: readonly [string, string][]): string[] | Record<string, string> | undefined {
  if (drive.length === 0) return undefined
  const names = drive.map(([name]) => name)
  if (drive.every(([, node]) => node === '')) return names
  const twice = names.find((name, at) => names.indexOf(name) < at)
  if (twice !== undefined) throw new VmapipeError('USAGE', `the drive ${twice} is chosen twice`)
  return Object.fromEntries(drive)
}

/** An example with the user's name, or, if that is a path, with it as the source. */
function example(given: string): string {
  return /[./]/.test(given) ? `drive-scsi0=${given}` : `${given}=disk.raw`
}

/** Reads `NAME=SOURCE`, or `NAME` alone for a running guest. */
function drivePairs(text: string, before: [string, string][] = []): [string, string][] {
  return text.includes('=') ? pairs('drive-scsi0=disk.raw')(text, before) : [...before, [text, '']]
}
