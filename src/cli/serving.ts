/** What commands have in common that serve disks until they are told to end. */

import { closeSync, fstatSync, writeSync } from 'node:fs'
import { setFlagsFromString } from 'node:v8'
import { type Command, InvalidArgumentError } from 'commander'
import { asVmapipeError, printable, VmapipeError } from '../core/errors.ts'
import { formatBytes } from '../core/size.ts'
import type { ServiceStatus } from '../live/control/controlled-service.ts'
import { syscalls } from '../system/syscalls.ts'
import { interruptible } from './signals.ts'

export interface ServingFlags {
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
    .option('--socket <path>', 'unix socket for guests (mode 0600)')
    .option(
      '--listen <host:port>',
      'TCP address for guests. No encryption and NO AUTHENTICATION: whoever can connect reads and writes the drives',
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
  /** Bytes of a restore that goes on. */
  readonly progress?: { done: number; total: number }
}

export type Say = (line: string) => void

/** Throws USAGE where nobody could connect, or be told. Before any file is opened. */
export function checkServing({ socket, listen, readyFd }: ServingFlags): void {
  if (socket === undefined && listen === undefined) {
    throw new VmapipeError('USAGE', 'nothing says where guests connect', {
      hint: 'give --socket PATH, --listen HOST:PORT, or both',
    })
  }
  if (readyFd !== undefined) checkOpen(readyFd)
}

/** Lines for people on standard error. What comes from outside is made harmless before. */
export function speaker({ quiet }: Pick<ServingFlags, 'quiet'>): Say {
  return (line) => void (quiet || process.stderr.write(`${line}\n`))
}

/** Makes the service, starts it, says that it is ready, and stops it in good order on a signal; what `ended` throws is the end. */
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
  keepHeapSmall()
  try {
    service = await make(signal)
    await service.start()
    sayReady(service, flags, say)
    const failure = await Promise.race([aborted(signal), service.failed ?? never])
    say('stopping')
    await service.stop().catch((error) => {
      if (failure === undefined) throw error
      say(printable(asVmapipeError(error).line))
    })
    if (failure !== undefined) throw failure
    say('stopped: everything is durable')
    await ended()
  } finally {
    dispose()
  }
}

/**
 * V8 lets the memory for young objects grow to 64 MiB under load, and that of others by as much again as there is. What a server
 * makes of objects is garbage at once, or when the old data that they tell of has gone on: a collection costs as little there
 * when it comes sooner. The C library lets sixteen threads have a heap each. The memory is the guests'.
 */
function keepHeapSmall(): void {
  setFlagsFromString('--semi-space-growth-factor=1')
  setFlagsFromString('--heap-growing-percent=12')
  syscalls()?.limitArenas(2)
}

function sayReady(service: Served, { socket, listen, control, readyFd }: ServingFlags, say: Say): void {
  for (const { name, size } of service.status.drives) say(`drive ${printable(name)}: ${formatBytes(size)}`)
  const places = [socket, listen && `${listen.host}:${service.port}`].filter((place) => place !== undefined)
  say(`ready: guests at ${places.join(' and ')}${control === undefined ? '' : `, control at ${control}`}`)
  if (readyFd !== undefined) tellReady(readyFd)
}

/** In one line, for the user who asks by a signal. */
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

/** Also where that was before anybody asked. */
function aborted(signal: AbortSignal): Promise<undefined> {
  if (signal.aborted) return Promise.resolve(undefined)
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(undefined), { once: true }))
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
