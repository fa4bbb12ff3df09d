import type { Command } from 'commander'
import { type InheritedSocket, takeInheritedSockets } from '../../system/notify-socket.ts'
import { bufferFlag, common, driveRecord, examples, milliseconds, pairs, rateFlag } from '../flags.ts'
import { checkServing, type ServingFlags, serveUntilStopped, servingFlags, speaker } from '../serving.ts'
import { socketAccess } from '../socket-access.ts'
import { noteLine } from '../text.ts'

interface Flags extends ServingFlags {
  drive: [string, string][]
  buffer?: number
  maxStall?: number
  maxHang?: number
  track?: string | true
  soleWriter?: boolean
  bwlimit?: number
}

export function serveCommand(program: Command): void {
  const command = program
    .command('serve')
    .summary('be the disk of a running guest')
    .description(
      'Serves drives by NBD, so that a guest runs on them, and backs them up while it does: at one point in time, ' +
        'with one read and two writes, and without temporary storage.\n\n' +
        'SOURCE is a raw image or block device, qcow2:PATH (vmdk:, vdi: …), or an NBD URI. No other program may write to it. ' +
        'If the server of an NBD URI goes away, the guest waits.\n\n' +
        'The control socket speaks HTTP: GET /status, GET /metrics, GET /backup, DELETE /backup. ' +
        'SIGTERM ends it in good order: requests that have come are answered, and everything is made durable.\n\n' +
        'A service of systemd may have Type=notify and WatchdogSec=, with NotifyAccess=all. Sockets of a unit .socket are for guests, ' +
        'or, with FileDescriptorName=control, for control.',
    )
    .requiredOption('-d, --drive <name=source>', 'a drive; any number of times', pairs('drive-scsi0=disk.raw'))
  servingFlags(command)
    .option(
      '--max-stall <time>',
      'the longest time that a request of the guest waits for a backup; 10s by default',
      milliseconds,
    )
    .option(
      '--max-hang <time>',
      'a backup ends if its target takes nothing for this long, also if the guest is idle; 10m by default',
      milliseconds,
    )
    .option(
      '--track [folder]',
      'track durably what the guest writes, so that backup --since reads only that; in CONTROL.track by default. ' +
        'The folder must survive a restart of the system if tracking is to',
    )
    .option(
      '--sole-writer',
      'with --track: nothing else ever writes to the block devices and the drives of NBD servers, which cannot tell it: believe what was tracked',
    )
    .action(run)
  examples(
    common(
      rateFlag(bufferFlag(command, 'old data that may wait in memory during a backup'), 'the drives during a backup'),
    ),
    'vmapipe serve -d drive-scsi0=disk.raw --socket /run/vm1.nbd --control /run/vm1.ctl',
    'vmapipe backup --attach /run/vm1.ctl -o vm1.vma.zst',
    'vmapipe serve -d drive-scsi0=disk.raw --socket /run/vm1.nbd --control /run/vm1.ctl --track /var/lib/vm1.track',
    'vmapipe backup --attach /run/vm1.ctl --since auto -o vm1-tuesday.vmi.zst',
    'vmapipe abort --attach /run/vm1.ctl',
    'curl --unix-socket /run/vm1.ctl http://vm1/backup > vm1.vma',
  )
}

async function run({ drive, buffer, maxStall, maxHang, track, soleWriter, bwlimit, ...flags }: Flags): Promise<void> {
  const drives = driveRecord(drive) ?? {}
  const sockets = takeInheritedSockets(process.env)
  const isControl = ({ name }: InheritedSocket) => name === 'control'
  const inherited = {
    guests: sockets.filter((one) => !isControl(one)).map(({ fd }) => fd),
    control: sockets.filter(isControl).map(({ fd }) => fd),
  }
  checkServing(flags, inherited.guests.length)
  const { socket, listen, control } = flags
  const { DiskServer } = await import('../../operations/serve.ts')
  const warn = (message: string) => void process.stderr.write(`${noteLine('warning', message)}\n`)
  const limits = { buffer, maxStall, maxHang, bwlimit }
  const access = { socketAccess: socketAccess(flags), inherited }
  const server = new DiskServer({ drives, socket, ...access, listen, control, track, soleWriter, ...limits, warn })
  await serveUntilStopped(() => server, flags, speaker(flags))
}
