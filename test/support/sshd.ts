/** A real sshd on loopback with keys of its own, and an `ssh` for the PATH that finds it as the host `vmapipe-test`. */

import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { userInfo } from 'node:os'
import { dirname, join } from 'node:path'
import type { TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { accepts, freePorts } from './ports.ts'
import { tmpDir } from './tmp.ts'
import { which } from './tools.ts'

export const SSH_HOST = 'vmapipe-test'
/** On a machine that has much else to do. */
const START_MS = 60_000

/** As they are without any sshd of ours, of which there may be several at once. */
const OUTER_PATH = process.env.PATH
const OUTER_SSH = which('ssh')

export interface Sshd {
  /** The folder where sessions start, as a home folder would be. */
  home: string
  /** For the environment of a process that is to find our `ssh`; already set in this one, while there is one sshd. */
  path: string
  port: number
  /** Kills the sshd processes of all sessions, but nothing that runs in them: a network that went away. */
  cut(): void
}

export interface SshdOptions {
  /** Shell commands before the session's own, such as a limit. */
  before?: string
  /**
   * All sessions share one connection, as with a ControlMaster that a user has. A connection of its own costs each session a quarter of
   * a second of a processor, and a test of many sessions is not about connections.
   */
  oneConnection?: boolean
}

/** Starts it, and ends it with the test. */
export async function startSshd(
  t: Pick<TestContext, 'after'>,
  { before = ':', oneConnection = false }: SshdOptions = {},
): Promise<Sshd> {
  const dir = tmpDir(t)
  const home = join(dir, 'home')
  mkdirSync(home)
  if (userInfo().uid === 0) mkdirSync('/run/sshd', { recursive: true, mode: 0o755 })
  for (const name of ['host_key', 'user_key']) {
    execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', join(dir, name)])
  }
  const [port] = await freePorts(1)
  writeFileSync(join(dir, 'authorized_keys'), readFileSync(join(dir, 'user_key.pub')))
  writeFileSync(join(dir, 'known_hosts'), `[127.0.0.1]:${port} ${readFileSync(join(dir, 'host_key.pub'), 'utf8')}`)
  writeFileSync(join(dir, 'sshd_config'), serverConfig(dir, port, `cd '${home}'; ${before}`))
  writeFileSync(join(dir, 'ssh_config'), clientConfig(dir, port, oneConnection))
  const path = `${writeClient(dir)}:${OUTER_PATH}`
  process.env.PATH = path
  // sshd wants to be started by its full path.
  const sshd = spawn(which('sshd')!, ['-D', '-e', '-f', join(dir, 'sshd_config')], {
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  t.after(() => {
    process.env.PATH = OUTER_PATH
    sshd.kill()
  })
  await listening(sshd, port)
  if (oneConnection) await connectOnce(t, dir)
  return { home, path, port, cut: () => killSessions(sshd.pid!) }
}

/** In the command line of each `ssh` that goes to the sshd with this home: others of other tests may run at the same time. */
export const sshConfig = (home: string) => join(dirname(home), 'ssh_config')

/** Makes the connection that all sessions share. */
async function connectOnce(t: Pick<TestContext, 'after'>, dir: string): Promise<void> {
  const master = spawn(OUTER_SSH!, ['-F', join(dir, 'ssh_config'), '-M', '-N', SSH_HOST], {
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  t.after(() => master.kill())
  while (!existsSync(join(dir, 'master'))) {
    if (master.exitCode !== null) throw new Error('ssh did not connect')
    await sleep(25)
  }
}

/** SHLVL: else a bash reads the startup files of the user who runs the tests, which may take long, or say something. */
function serverConfig(dir: string, port: number, before: string): string {
  return `
ListenAddress 127.0.0.1:${port}
HostKey ${dir}/host_key
AuthorizedKeysFile ${dir}/authorized_keys
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
SetEnv SHLVL=1
MaxSessions 100
Subsystem sftp /usr/lib/openssh/sftp-server
ForceCommand ${before}; exec /bin/sh -c "$SSH_ORIGINAL_COMMAND"
`
}

function clientConfig(dir: string, port: number, oneConnection: boolean): string {
  return `
Host ${SSH_HOST}
  HostName 127.0.0.1
  Port ${port}
  IdentityFile ${dir}/user_key
  IdentitiesOnly yes
  UserKnownHostsFile ${dir}/known_hosts
  BatchMode yes
  LogLevel ERROR
${oneConnection ? `  ControlPath ${dir}/master\n` : ''}`
}

function writeClient(dir: string): string {
  const bin = join(dir, 'bin')
  mkdirSync(bin)
  writeFileSync(join(bin, 'ssh'), `#!/bin/sh\nexec '${OUTER_SSH}' -F '${dir}/ssh_config' "$@"\n`)
  chmodSync(join(bin, 'ssh'), 0o755)
  return bin
}

async function listening(sshd: ChildProcess, port: number): Promise<void> {
  let log = ''
  sshd.stderr!.on('data', (data) => {
    log += data
  })
  for (const end = Date.now() + START_MS; Date.now() < end; ) {
    if (sshd.exitCode !== null) break
    if (await accepts(port)) return
    await sleep(25)
  }
  throw new Error(`sshd did not start: ${log}`)
}

/** While a session begins, processes of sshd come and go. */
function killSessions(pid: number): void {
  try {
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'latin1').split(' ').filter(Boolean).map(Number)
    for (const child of children) killSession(child)
  } catch {
    // It has ended.
  }
}

/** sshd's own descendants go by its name; the session's command does not. */
function killSession(pid: number): void {
  try {
    if (!readFileSync(`/proc/${pid}/comm`, 'latin1').startsWith('sshd')) return
    killSessions(pid)
    process.kill(pid, 'SIGKILL')
  } catch {
    // It has ended.
  }
}
