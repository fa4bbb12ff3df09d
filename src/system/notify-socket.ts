/**
 * Tells the program that has started us, such as systemd, how we are: sd_notify(3). It is a datagram to a unix socket, which Node does not
 * have, so it needs koffi.
 */

import { loadLibc, resultOf } from './koffi.ts'
import { native } from './native.ts'

/** socket(2), Linux. */
const AF_UNIX = 1
const SOCK_DGRAM = 2
const SOCK_NONBLOCK = 0o4000
const SOCK_CLOEXEC = 0o2000000
const MSG_NOSIGNAL = 0x4000
/** sockaddr_un: two bytes of the family, and the path. */
const PATH_BYTES = 108

export interface Notifier {
  /** Sends lines such as `READY=1`. Returns false if they were not taken; nothing is to be done about that. */
  send(...lines: string[]): boolean
}

const sockets = native(() => {
  const libc = loadLibc()
  return {
    socket: libc.func('int socket(int, int, int)'),
    sendto: libc.func('int64_t sendto(int, const void *, uint64_t, int, const void *, uint32_t)'),
  }
})

/** Null if nobody wants to be told, or it cannot be done. Children are not told of the socket. */
export function takeNotifier(env: NodeJS.ProcessEnv): Notifier | null {
  const path = env.NOTIFY_SOCKET
  delete env.NOTIFY_SOCKET
  if (path === undefined || !/^[/@]/.test(path)) return null
  const address = addressOf(path)
  const calls = sockets()
  if (address === null || calls === null) return null
  const fd = resultOf(calls.socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0))
  if (fd < 0) return null
  return {
    send(...lines) {
      // A status has no line breaks: another line would be another message.
      const message = Buffer.from(lines.map((line) => line.replaceAll('\n', ' ')).join('\n'))
      return (
        resultOf(calls.sendto(fd, message, message.length, MSG_NOSIGNAL, address, address.length)) === message.length
      )
    },
  }
}

/** A leading @ is the NUL of an abstract address. Null if it is too long. */
function addressOf(path: string): Buffer | null {
  const bytes = Buffer.from(path)
  if (bytes[0] === 0x40) bytes[0] = 0
  if (bytes.length >= PATH_BYTES) return null
  const isAbstract = bytes[0] === 0
  const address = Buffer.alloc(2 + bytes.length + (isAbstract ? 0 : 1))
  address.writeUInt16LE(AF_UNIX, 0)
  bytes.copy(address, 2)
  return address
}

/** Milliseconds within which systemd wants a sign of life; null if it does not (sd_watchdog_enabled(3)). The launcher may be our parent. */
export function watchdogTime(env: NodeJS.ProcessEnv): number | null {
  const { WATCHDOG_USEC: time, WATCHDOG_PID: pid } = env
  if (time === undefined || !/^\d{1,15}$/.test(time) || Number(time) === 0) return null
  return pid === undefined || isOurs(pid) ? Number(time) / 1000 : null
}

export interface InheritedSocket {
  fd: number
  /** FileDescriptorName= of its unit; "unknown" if it was not told. */
  name: string
}

const FIRST_FD = 3
const MOST_FDS = 64

/** Sockets that listen already, which systemd or another program has passed to us: sd_listen_fds(3). Children are not told of them. */
export function takeInheritedSockets(env: NodeJS.ProcessEnv): InheritedSocket[] {
  const { LISTEN_PID: pid, LISTEN_FDS: count, LISTEN_FDNAMES: names = '' } = env
  for (const name of ['LISTEN_PID', 'LISTEN_FDS', 'LISTEN_FDNAMES', 'LISTEN_PIDFDID']) delete env[name]
  if (pid === undefined || count === undefined || !isOurs(pid) || !/^\d{1,3}$/.test(count)) return []
  const named = names.split(':')
  const sockets = Math.min(Number(count), MOST_FDS)
  return Array.from({ length: sockets }, (_, index) => ({ fd: FIRST_FD + index, name: named[index] || 'unknown' }))
}

/** Our id, or that of the launcher, which starts a newer Node. */
function isOurs(pid: string): boolean {
  return Number(pid) === process.pid || Number(pid) === process.ppid
}
