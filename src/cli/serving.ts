/** Shared by the commands that serve disks until a signal ends them. */

import { closeSync, fstatSync, writeSync } from 'node:fs'
import { setFlagsFromString } from 'node:v8'
import { type Command, InvalidArgumentError } from 'commander'
import { asVmapipeError, printable, VmapipeError } from '../core/errors.ts'
import { formatBytes } from '../core/size.ts'
import type { ServiceStatus } from '../live/control/controlled-service.ts'
import { syscalls } from '../system/syscalls.ts'
import { serviceManager } from './service-manager.ts'
import { interruptible } from './signals.ts'
import { type SocketFlags, socketMode } from './socket-access.ts'

export interface ServingFlags extends SocketFlags {
  socket?: string
  listen?: { host: string; port: number }
  control?: string
  readyFd?: number
  quiet?: boolean
}

export function servingFlags(command: Command): Command {
  return guestFlags(command).option('-q, --quiet', 'nothing but errors')
}

/** Where guests connect. */
export function guestFlags(command: Command): Command {
  return command
    .option('--socket <path>', 'unix socket for guests (mode 0600 by default)')
    .option(
      '--socket-mode <mode>',
      'its permissions, such as 0660, which is the default with --socket-group',
      socketMode,
    )
    .option('--socket-group <group>', 'its group')
    .option(
      '--listen <host:port>',
      'TCP address for guests. No encryption and NO AUTHENTICATION: all who can connect can read and write the drives',
      address,
    )
    .option('--control <path>', 'control socket (mode 0600)')
    .option('--ready-fd <n>', 'write a line to this descriptor when guests can connect', descriptor)
}

interface Served {
  start(): Promise<void>
  stop(): Promise<void>
  readonly port: number | undefined
  readonly status: Pick<ServiceStatus, 'drives'> & Partial<Pick<ServiceStatus, 'backup'>>
  /** Resolves when it cannot go on. */
  readonly failed?: Promise<VmapipeError>
  /** Bytes restored and to restore, during a live restore. */
  readonly progress?: { done: number; total: number }
}

export type Say = (line: string) => void

/** Throws USAGE if no guest could connect, or nobody would learn that it can. Call it before any file is opened. */
export function checkServing({ socket, listen, readyFd, socketMode, socketGroup }: ServingFlags, inherited = 0): void {
  if (socket === undefined && listen === undefined && inherited === 0) {
    throw new VmapipeError('USAGE', 'nothing says where guests connect', {
      hint: 'give --socket PATH, --listen HOST:PORT, or both',
    })
  }
  if (socket === undefined && (socketMode ?? socketGroup) !== undefined)
    throw new VmapipeError('USAGE', 'there is no socket that could have this mode or group', {
      hint: 'give --socket PATH',
    })
  if (readyFd !== undefined) checkOpen(readyFd)
}

/** Writes lines for people to standard error. The caller makes text from outside harmless. */
export function speaker({ quiet }: Pick<ServingFlags, 'quiet'>): Say {
  return (line) => void (quiet || process.stderr.write(`${line}\n`))
}

/** Makes the service, starts it, says that it is ready, and stops it in good order on a signal, or when `ended` rejects. */
export async function serveUntilStopped(
  make: (signal: AbortSignal) => Promise<Served> | Served,
  flags: ServingFlags,
  say: Say,
  ended: () => Promise<void> | void = () => {},
): Promise<void> {
  let service: Served | null = null
  const { signal, dispose } = interruptible({
    tell: () => void process.stderr.write(`${service === null ? 'starting' : howFar(service)}\n`),
  })
  const manager = serviceManager()
  keepHeapSmall()
  try {
    service = await make(signal)
    await service.start()
    sayReady(service, flags, say)
    const served = service
    manager.ready(() => howFar(served))
    const failure = await Promise.race([aborted(signal), service.failed ?? never])
    manager.stopping()
    say('stopping')
    await service.stop().catch((error) => {
      if (failure === undefined) throw error
      say(printable(asVmapipeError(error).line))
    })
    if (failure !== undefined) throw failure
    say('stopped: everything is durable')
    await ended()
  } finally {
    manager.end()
    dispose()
  }
}

/**
 * Keeps the memory of a server small: the memory belongs to the guests. By default V8 lets the space for young objects grow to 64 MiB
 * under load, and doubles the space of old ones. Objects of a server soon become garbage, so earlier collections cost no more. The C
 * library also gives up to sixteen threads a heap each.
 */
function keepHeapSmall(): void {
  setFlagsFromString('--semi-space-growth-factor=1')
  setFlagsFromString('--heap-growing-percent=12')
  syscalls()?.limitArenas(2)
}

function sayReady(service: Served, { socket, listen, control, readyFd }: ServingFlags, say: Say): void {
  for (const { name, size } of service.status.drives) say(`drive ${printable(name)}: ${formatBytes(size)}`)
  const places = [socket, listen && `${listen.host}:${service.port}`].filter((place) => place !== undefined)
  if (places.length === 0) places.push('sockets that were passed')
  say(`ready: guests at ${places.join(' and ')}${control === undefined ? '' : `, control at ${control}`}`)
  if (readyFd !== undefined) tellReady(readyFd)
}

/** The state in one line, for a user who asks by a signal. */
function howFar({ status, progress }: Served): string {
  const { drives, backup } = status
  const size = drives.reduce((sum, drive) => sum + drive.size, 0)
  const clusters = backup?.clusters
  return [
    `serving ${drives.length} ${drives.length === 1 ? 'drive' : 'drives'} of ${formatBytes(size)}`,
    progress && `restored ${formatBytes(progress.done)} of ${formatBytes(progress.total)}`,
    clusters && `a backup has ${clusters.scanned + clusters.copied} of ${clusters.total} clusters`,
  ]
    .filter(Boolean)
    .join(', ')
}

const never = new Promise<never>(() => {})

/** Resolves when the signal is aborted, also if that was before the call. */
function aborted(signal: AbortSignal): Promise<undefined> {
  if (signal.aborted) return Promise.resolve(undefined)
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(undefined), { once: true }))
}

/** Checks the descriptor. Call it before any file is opened, which might get the same number. */
function checkOpen(fd: number): void {
  try {
    fstatSync(fd)
  } catch {
    throw new VmapipeError('USAGE', `--ready-fd ${fd}: no such descriptor is open`, {
      hint: `the program that starts the server must open it, such as a shell with ${fd}>file`,
    })
  }
}

/** Writes the line. The reader may be gone; guests are served nevertheless. */
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
