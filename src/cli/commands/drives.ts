import type { Command } from 'commander'
import { printable } from '../../core/errors.ts'
import { formatBytes } from '../../core/size.ts'
import type { Inventory, QemuDrive } from '../../live/qemu/inventory/discovery.ts'
import { type CommonFlags, common, examples } from '../flags.ts'
import { interruptible } from '../signals.ts'
import { columns, noteLine, print, styled } from '../text.ts'

interface Flags extends CommonFlags {
  qmp?: string
  libvirt?: string
  connect?: string
  json?: boolean
}

export function drivesCommand(program: Command): void {
  const command = program
    .command('drives')
    .summary('print which drives a running guest has')
    .description(
      'Prints which drives the guest of a stock QEMU has, under the names that `vmapipe backup --qmp` gives them, ' +
        'and which ones it leaves out. Nothing is changed.',
    )
    .option('--qmp <socket>', "the guest's QMP socket (QEMU: -qmp unix:SOCKET,server=on,wait=off)")
    .option('--libvirt <domain>', 'the guest by its name in libvirt, through virsh')
    .option('--connect <uri>', "with --libvirt: the URI of libvirt; virsh's own choice by default")
    .option('--json', 'as JSON, with everything that is known about them')
    .action(run)
  examples(
    common(command),
    'vmapipe drives --qmp /run/vm1.qmp',
    'vmapipe drives --libvirt vm1',
    "vmapipe drives --qmp /run/vm1.qmp --json | jq '.drives[].name'",
  )
}

async function run({ json, qmp, libvirt, connect }: Flags): Promise<void> {
  const { drives } = await import('../../operations/drives.ts')
  const { signal, dispose } = interruptible()
  const warn = (message: string) => process.stderr.write(`${noteLine('warning', message)}\n`)
  try {
    const inventory = await drives({ qmp, libvirt, connect, signal, warn })
    print(...(json ? [JSON.stringify(asJson(inventory), null, 2)] : driveLines(inventory)))
  } finally {
    dispose()
  }
}

/** A table of the drives, then a line for each drive that is left out. */
export function driveLines({ drives, leftOut }: Inventory): string[] {
  const rows = drives.map((drive) => [
    printable(drive.name),
    formatBytes(drive.size),
    printable(drive.type),
    printable(drive.node),
    printable(drive.format),
    printable(remarks(drive)),
  ])
  const [heads, ...lines] = columns([['NAME', 'SIZE', 'DEVICE', 'NODE', 'FORMAT', ''], ...rows])
  return [
    ...(drives.length > 0 ? [styled('bold', heads), ...lines] : ['the guest has no drive to back up']),
    ...leftOut.map(({ name, reason }) => `left out: ${printable(`${name} ${reason}`)}`),
  ]
}

function remarks({ iothread, throttleGroup, shared }: QemuDrive): string {
  return [
    iothread !== null && `iothread ${iothread}`,
    throttleGroup !== null && `throttled as ${throttleGroup}`,
    shared && 'others may write to it',
  ]
    .filter(Boolean)
    .join(', ')
}

function asJson({ drives, leftOut }: Inventory): object {
  return { drives, leftOut: leftOut.map(({ name, reason, drive }) => ({ name, reason, canBeChosen: drive !== null })) }
}
