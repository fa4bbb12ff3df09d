/** Runs our script on another machine by the system's ssh, with its configuration, keys and agent, and reads the script's answers. */

import { randomBytes } from 'node:crypto'
import type { Readable } from 'node:stream'
import { VmapipeError } from '../../core/errors.ts'
import { Command } from './command.ts'
import { encodeWord, NONCE_LENGTH } from './remote-script.ts'
import type { SshPlace } from './spec.ts'

/** The most bytes that startup files of the remote shell may print before our script answers. */
const MOST_NOISE = 1 << 20

export interface Session {
  command: Command
  nonce: string
  /** The next answer of the script, or null if there is none any more. The bytes behind its line stay in stdout. */
  answer(): Promise<string | null>
}

/** A host that does not answer for a minute counts as gone. ssh asks, and sshd answers however slow the disk is. */
const ALIVE = ['-o', 'ServerAliveInterval=20', '-o', 'ServerAliveCountMax=3']

/** Starts `script` (see remote-script.ts) on the host and tells it the nonce and these words. */
export function startSession(
  place: SshPlace,
  script: string,
  words: readonly Uint8Array[],
  warn: (line: string) => void,
): Session {
  const nonce = randomBytes(NONCE_LENGTH / 2).toString('hex')
  const args = ['-T', ...ALIVE, ...(place.port === undefined ? [] : ['-p', String(place.port)])]
  if (place.user !== undefined) args.push('-l', place.user)
  args.push('--', place.host, script)
  const name = `ssh to ${place.host}`
  const command = new Command({ program: 'ssh', args, name, stdin: 'pipe', stdout: 'pipe', warn })
  // A broken pipe is an error of the write or of the answers, and ssh itself knows why.
  command.stdin.on('error', () => {})
  command.stdout.on('error', () => {})
  command.stdin.write([Buffer.from(nonce), ...words].map(encodeWord).join(''))
  return { command, nonce, answer: () => nextAnswer(command.stdout, nonce) }
}

/** The exit code of ssh if it, and not the remote shell, has failed: ssh(1), EXIT STATUS. */
const SSH_FAILED = 255

/** Why the script has not begun: the connection failed, or the account runs no commands. */
export async function whyNotBegun(command: Command, { host }: SshPlace): Promise<VmapipeError> {
  const failure = await command.failure()
  if (command.exitCode === null || command.exitCode === SSH_FAILED) return failure
  const hint = `does this account on ${host} have a shell that runs commands? One for sftp alone does not`
  return new VmapipeError('FAILED', failure.message, { hint, cause: failure })
}

/** Resolves when there is something to read, or never will be. */
export function moved(stream: Readable): Promise<void> {
  return new Promise((resolve) => {
    const events = ['readable', 'end', 'close', 'error']
    const done = () => {
      for (const event of events) stream.off(event, done)
      resolve()
    }
    for (const event of events) stream.on(event, done)
  })
}

async function nextAnswer(stdout: Readable, nonce: string): Promise<string | null> {
  const start = Buffer.from(`${nonce} `)
  let seen: Buffer = Buffer.alloc(0)
  for (;;) {
    const chunk = stdout.read() as Buffer | null
    if (chunk === null) {
      if (stdout.readableEnded || stdout.destroyed) return null
      await moved(stdout)
      continue
    }
    seen = Buffer.concat([seen, chunk])
    const from = seen.indexOf(start)
    const end = from < 0 ? -1 : seen.indexOf('\n', from)
    if (end >= 0) {
      if (end + 1 < seen.byteLength) stdout.unshift(seen.subarray(end + 1))
      return seen.toString('utf8', from + start.byteLength, end)
    }
    if (seen.byteLength > MOST_NOISE) throw new VmapipeError('FAILED', 'the remote shell prints without end')
  }
}
