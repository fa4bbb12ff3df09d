/**
 * Mail as plain text, by a server of SMTP or by the program `sendmail`. The library that makes messages encodes what could end a line of
 * the header. The password is read from its file, and is sent only over an encrypted connection, or to this machine.
 */

import { once } from 'node:events'
import { isIP } from 'node:net'
import { hostname } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import nodemailer from 'nodemailer'
import { asVmapipeError, printable, VmapipeError } from '../../core/errors.ts'
import { spawnTied } from '../../system/child.ts'
import { familyOf, signalFamily } from '../../system/family.ts'
import type { Message } from './message.ts'
import type { Mail } from './schema.ts'
import { readCertificates, readSecret } from './secrets.ts'

interface MailOptions {
  signal?: AbortSignal | undefined
  /** Milliseconds that the server, or the program, may take for a step. */
  timeout?: number | undefined
}

const TIMEOUT_MS = 30_000
const SENDMAIL = '/usr/sbin/sendmail'

export async function sendMail(mail: Mail, message: Message, options: MailOptions): Promise<void> {
  const to = [mail.mail].flat()
  const letter = {
    from: { name: 'vmapipe', address: mail.from ?? `vmapipe@${hostname()}` },
    to: to.map((address) => ({ name: '', address })),
    subject: message.title,
    text: `${message.text}\n`,
    headers: { 'auto-submitted': 'auto-generated' },
    disableFileAccess: true,
    disableUrlAccess: true,
  }
  if (mail.smtp === undefined) await byProgram(mail.sendmail ?? SENDMAIL, to, letter, options)
  else await byServer(mail.smtp, letter, options)
}

type Letter = Parameters<ReturnType<typeof nodemailer.createTransport>['sendMail']>[0]

async function byServer(
  { host, port, tls = 'auto', user, 'password-file': passwordFile, ca }: NonNullable<Mail['smtp']>,
  letter: Letter,
  { signal, timeout = TIMEOUT_MS }: MailOptions,
): Promise<void> {
  const hasPassword = user !== undefined && passwordFile !== undefined
  if (user !== undefined && passwordFile === undefined)
    throw new VmapipeError('FAILED', `there is no password for the user at ${host}`, { hint: 'add password-file' })
  if (hasPassword && tls === 'off' && !isLoopback(host))
    throw new VmapipeError('FAILED', `a password would be sent to ${host} unencrypted`, {
      hint: 'leave out tls: off',
    })
  const transport = nodemailer.createTransport({
    host,
    port: port ?? (tls === 'on' ? 465 : hasPassword ? 587 : 25),
    secure: tls === 'on',
    requireTLS: tls === 'starttls' || (tls === 'auto' && hasPassword && !isLoopback(host)),
    ignoreTLS: tls === 'off',
    ...(hasPassword && { auth: { user, pass: await readSecret(passwordFile) } }),
    ...(ca !== undefined && { tls: { ca: await readCertificates(ca) } }),
    connectionTimeout: timeout,
    greetingTimeout: timeout,
    socketTimeout: timeout,
    dnsTimeout: timeout,
    disableFileAccess: true,
    disableUrlAccess: true,
  })
  const close = () => transport.close()
  signal?.addEventListener('abort', close, { once: true })
  try {
    const { rejected } = await transport.sendMail(letter)
    if (rejected.length > 0)
      throw new VmapipeError('FAILED', `${host} does not take mail for ${printable(rejected.map(String).join(', '))}`)
  } catch (error) {
    signal?.throwIfAborted()
    throw error instanceof VmapipeError ? error : serverError(host, error as ServerError)
  } finally {
    signal?.removeEventListener('abort', close)
    transport.close()
  }
}

type ServerError = NodeJS.ErrnoException & { response?: string; command?: string }

function serverError(host: string, error: ServerError): VmapipeError {
  // The texts of OpenSSL have numbers and names of files around the reason.
  const tls = /:SSL routines:[^:]*:([^:]+)/.exec(error.message)?.[1]
  const own = tls === undefined ? error.message : `TLS: ${tls}`
  const said = error.response === undefined ? own : `the server says: ${error.response}`
  const hint = error.code === 'EAUTH' ? 'look at user and password-file' : undefined
  return new VmapipeError('FAILED', `${host}: ${printable(said.slice(0, 300))}`, {
    cause: error,
    ...(hint && { hint }),
  })
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'))
}

async function byProgram(
  program: string,
  to: readonly string[],
  letter: Letter,
  { signal, timeout = TIMEOUT_MS }: MailOptions,
): Promise<void> {
  const composer = nodemailer.createTransport({ streamTransport: true, buffer: true, newline: 'unix' })
  const { message } = await composer.sendMail(letter)
  // -i: a line with a single dot does not end the message.
  const child = spawnTied(program, ['-i', '--', ...to], { stdio: ['pipe', 'ignore', 'pipe'], deathSignal: 'KILL' })
  let said = ''
  child.stderr!.setEncoding('utf8').on('data', (text) => {
    if (said.length < 300) said += text
  })
  child.stdin!.on('error', () => {})
  child.stdin!.end(message as Buffer)
  const over = new AbortController()
  const limit = AbortSignal.any([over.signal, ...(signal === undefined ? [] : [signal])])
  const late = sleep(timeout, 'late' as const, { signal: limit, ref: false }).catch(() => 'aborted' as const)
  try {
    const ended = await Promise.race([once(child, 'close'), late])
    signal?.throwIfAborted()
    if (!Array.isArray(ended)) throw new VmapipeError('FAILED', `'${program}' does not end within ${timeout / 1000} s`)
    const [code, by] = ended
    if (code === 0) return
    const how = code === null ? `was ended by ${by}` : `ends with exit code ${code}`
    const why = said.trim() === '' ? '' : `: ${printable(said.trim())}`
    throw new VmapipeError('FAILED', `'${program}' ${how}${why}`)
  } catch (error) {
    throw asVmapipeError(error, { file: program })
  } finally {
    over.abort()
    if (child.pid !== undefined && child.exitCode === null && child.signalCode === null)
      signalFamily(familyOf(child.pid), 'SIGKILL')
  }
}
