import { closeSync, fstatSync, writeSync } from 'node:fs'
import { type Command, InvalidArgumentError } from 'commander'
import { VmapipeError } from '../../core/errors.ts'
import { formatBytes } from '../../core/size.ts'
import { bufferFlag, common, driveRecord, examples, milliseconds, pairs, rateFlag } from '../flags.ts'
import { interruptible } from '../signals.ts'

interface Flags {
  drive: [string, string][]
  socket?: string
  listen?: { host: string; port: number }
  control?: string
  buffer?: number
  maxStall?: number
  bwlimit?: number
  readyFd?: number
  quiet?: boolean
}

export function serveCommand(program: Command): void {
  const command = program
    .command('serve')
    .summary('be the disk of a running guest')
    .description(
      'Serves drives by NBD, so that a guest runs on them, and backs them up while it does: at one point in time, ' +
        'with one read and two writes, and without temporary storage.\n\n' +
        'SOURCE is a raw image or block device, qcow2:PATH (vmdk:, vdi: …), or an NBD URI. Nobody else may write to it.\n\n' +
        'The control socket speaks HTTP: GET /status, GET /metrics, GET /backup, DELETE /backup. ' +
        'SIGTERM ends it: what was taken is answered, everything is durable, then it closes.',
    )
    .requiredOption('-d, --drive <name=source>', 'a drive; any number of times', pairs('drive-scsi0=disk.raw'))
    .option('--socket <path>', 'unix socket for guests (mode 0600)')
    .option('--listen <host:port>', 'TCP address for guests; no encryption, no authentication', address)
    .option('--control <path>', 'control socket (mode 0600)')
    .option('--ready-fd <n>', 'write a line to this descriptor when guests can connect', descriptor)
    .option(
      '--max-stall <time>',
      'a request of the guest waits for a backup no longer than this; 10s unless given',
      milliseconds,
    )
    .option('-q, --quiet', 'nothing but errors')
    .action(run)
  examples(
    common(
      rateFlag(bufferFlag(command, 'old data that may wait in memory during a backup'), 'the drives during a backup'),
    ),
    'vmapipe serve -d drive-scsi0=disk.raw --socket /run/vm1.nbd --control /run/vm1.ctl',
    'vmapipe backup --attach /run/vm1.ctl -o vm1.vma.zst',
    'curl --unix-socket /run/vm1.ctl http://vm1/backup > vm1.vma',
  )
}

async function run({ drive, socket, listen, control, readyFd, quiet, ...defaults }: Flags): Promise<void> {
  const drives = driveRecord(drive) ?? {}
  if (socket === undefined && listen === undefined) {
    throw new VmapipeError('USAGE', 'nothing says where guests connect', {
      hint: 'give --socket PATH, --listen HOST:PORT, or both',
    })
  }
  if (readyFd !== undefined) checkOpen(readyFd)
  const { Service } = await import('../../live/service.ts')
  const service = new Service({ drives, socket, listen, control, defaults })
  const { signal, dispose } = interruptible()
  try {
    await service.start()
    const say = (line: string) => quiet || process.stderr.write(`${line}\n`)
    for (const { name, size } of service.status.drives) say(`drive ${name}: ${formatBytes(size)}`)
    const places = [socket, listen && `${listen.host}:${service.port}`].filter((place) => place !== undefined)
    say(`ready: guests at ${places.join(' and ')}${control === undefined ? '' : `, control at ${control}`}`)
    if (readyFd !== undefined) tellReady(readyFd)
    await aborted(signal)
    say('stopping')
    await service.stop()
    say('stopped: everything is durable')
  } finally {
    dispose()
  }
}

/** Also where that was before anybody asked. */
function aborted(signal: AbortSignal): Promise<unknown> {
  if (signal.aborted) return Promise.resolve()
  return new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }))
}

/** Before any file is opened, which might then get this number. */
function checkOpen(fd: number): void {
  try {
    fstatSync(fd)
  } catch {
    throw new VmapipeError('USAGE', `--ready-fd ${fd}: no such descriptor is open`, {
      hint: `whoever starts the server opens it, such as a shell with ${fd}>file`,
    })
  }
}

/** Whoever waits may have gone; the guest is served all the same. */
function tellReady(fd: number): void {
  try {
    writeSync(fd, 'READY=1\n')
    if (fd > 2) closeSync(fd)
  } catch {}
}

function address(text: string): { host: string; port: number } {
  const [, host, port] = /^(.+):(\d{1,5})$/.exec(text) ?? []
  if (host === undefined || Number(port) > 65535)
    throw new InvalidArgumentError('write it as 127.0.0.1:10809 or [::1]:10809')
  return { host: host.replace(/^\[(.*)\]$/, '$1'), port: Number(port) }
}

function descriptor(text: string): number {
  if (!/^\d{1,4}$/.test(text) || Number(text) < 1) throw new InvalidArgumentError('write it as 3')
  return Number(text)
}
