/**
 * Servers of SMTP on loopback, out of Debian, that keep what they are given in a folder. OpenSMTPD needs root, and its control socket has one
 * name for the machine. Its TLS does not work with the OpenSSL of Debian 12, so users and TLS are those of aiosmtpd.
 */

import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, chownSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { spawnTied } from '../../src/system/child.ts'
import { until } from '../storage/archive/processes.ts'
import { freePorts } from './ports.ts'
import { tmpDir } from './tmp.ts'
import { which } from './tools.ts'

interface Owner {
  after(hook: () => unknown): void
}

const NOBODY = 65534

/** Takes mail for example.org and for users of this machine, of everybody. Gives its port, and the messages that have come. */
export async function startOpenSmtpd(t: Owner): Promise<{ port: number; messages(): string[] }> {
  const dir = tmpDir(t)
  const box = join(dir, 'box')
  mkdirSync(box)
  chownSync(box, NOBODY, NOBODY)
  // The process that delivers is another user's.
  chmodSync(dir, 0o711)
  const config = join(dir, 'smtpd.conf')
  const [port] = await freePorts(1)
  const text = `listen on 127.0.0.1 port ${port} hostname localhost
action "keep" mda "umask 022; cat > ${box}/.$$ && mv ${box}/.$$ ${box}/$$" user nobody virtual { "@" = "nobody" }
match from any for domain "example.org" action "keep"
match for local action "keep"
`
  writeFileSync(config, text, { mode: 0o600 })
  const server = spawnTied(which('smtpd')!, ['-d', '-f', config], { stdio: ['ignore', 'ignore', 'pipe'] })
  let log = ''
  server.stderr!.on('data', (data) => {
    log += data
  })
  t.after(async () => {
    server.kill('SIGTERM')
    if (server.exitCode === null && server.signalCode === null) await once(server, 'exit')
  })
  await until(() => server.exitCode !== null || isListening(port), 'OpenSMTPD listens')
  if (server.exitCode !== null) throw new Error(`OpenSMTPD does not start: ${log}`)
  return { port, messages: () => messagesIn(box) }
}

export interface GuardedSmtp {
  /** Asks for STARTTLS, and for a user. */
  starttls: number
  /** TLS from the first byte, and a user. */
  encrypted: number
  user: string
  password: string
  /** File of the server's certificate. */
  ca: string
  messages(): string[]
}

export async function startGuardedSmtp(t: Owner): Promise<GuardedSmtp> {
  const dir = tmpDir(t)
  const box = join(dir, 'box')
  mkdirSync(box)
  const [key, ca] = ['key.pem', 'cert.pem'].map((name) => join(dir, name))
  const request = '-x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost'.split(' ')
  const names = ['-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1']
  execFileSync('openssl', ['req', ...request, ...names, '-keyout', key, '-out', ca], { stdio: 'ignore' })
  const [user, password] = ['backup', 'open sesame: "quoted" ü']
  const script = join(import.meta.dirname, 'smtp-server.py')
  const server = spawnTied('/usr/bin/python3', [script, ca, key, user, password, box], {
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  t.after(() => server.kill('SIGKILL'))
  let log = ''
  server.stderr!.on('data', (data) => {
    log += data
  })
  let out = ''
  server.stdout!.on('data', (data) => {
    out += data
  })
  await until(() => out.includes('\n') || server.exitCode !== null, 'the server says its ports')
  if (server.exitCode !== null) throw new Error(`aiosmtpd does not start: ${log}`)
  const [starttls, encrypted] = out.split(' ').map(Number)
  return { starttls, encrypted, user, password, ca, messages: () => messagesIn(box) }
}

/** Whether this machine has Python with aiosmtpd. */
export function hasAiosmtpd(): boolean {
  try {
    execFileSync('/usr/bin/python3', ['-c', 'import aiosmtpd'], { stdio: 'ignore' })
    return true
  } catch {
    return process.env.CI !== undefined
  }
}

function messagesIn(box: string): string[] {
  return readdirSync(box)
    .filter((name) => /^\d+$/.test(name))
    .map((name) => readFileSync(join(box, name), 'utf8'))
}

/** Whether somebody listens, without a connection that the server would have to answer. */
function isListening(port: number): boolean {
  const hex = port.toString(16).toUpperCase().padStart(4, '0')
  return new RegExp(`:${hex} [0-9A-F]+:0000 0A `).test(readFileSync('/proc/net/tcp', 'latin1'))
}
