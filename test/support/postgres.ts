/** A real PostgreSQL of a test's own: a cluster in a temporary folder that answers on a Unix socket, and by TLS on a port if a test asks for that. */

import { type ChildProcess, execFile, spawn } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  copyFileSync,
  existsSync,
  globSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'

const run = promisify(execFile)

export interface Cluster {
  /** postgres://… of its database. */
  url: string
  /** Where pg_dump and others are. */
  bin: string
  /** Makes another database, empty. */
  make(name: string): Promise<string>
  /** Runs one of its programs, such as pg_dump, as the user of the cluster. Returns what it printed. */
  program(name: string, ...args: string[]): Promise<string>
  /** Kills all of its processes at once, as a power cut does. */
  kill(): Promise<void>
  start(): Promise<void>
  stop(): Promise<void>
}

/** Debian does not put them on the PATH: each version has a folder. */
export function postgresPrograms(): string | undefined {
  return globSync('/usr/lib/postgresql/*/bin').find((folder) => existsSync(join(folder, 'initdb')))
}

/** Options for `test()` and `describe()`: skips with a reason if PostgreSQL is not installed, except in CI. */
export function needsPostgres(): { skip: string | false } {
  return { skip: postgresPrograms() === undefined && !process.env.CI ? 'needs postgresql' : false }
}

/** A port of 127.0.0.1 where connections must be encrypted. */
export interface TlsPort {
  port: number
  cert: string
  key: string
}

export async function startPostgres({ tls }: { tls?: TlsPort } = {}): Promise<Cluster> {
  const bin = postgresPrograms()
  if (bin === undefined) throw new Error('PostgreSQL is not installed')
  const folder = mkdtempSync(join(tmpdir(), 'vmapipe-pg-'))
  const owner = await clusterUser()
  if (owner !== null) {
    chmodSync(folder, 0o755)
    chownSync(folder, owner.uid, owner.gid)
  }
  const options = { cwd: folder, ...owner }
  const data = join(folder, 'data')
  await run(join(bin, 'initdb'), ['-D', data, '-U', 'vmapipe', '-A', 'trust', '-E', 'UTF8', '--no-sync'], options)
  const listen = tls === undefined ? ['-c', 'listen_addresses='] : listenByTls(folder, data, tls, owner)
  let server: ChildProcess | null = null
  const port = tls === undefined ? '' : `&port=${tls.port}`
  const url = (database: string) => `postgres://vmapipe@localhost/${database}?host=${encodeURIComponent(folder)}${port}`
  const cluster: Cluster = {
    url: url('postgres'),
    bin,
    async make(database) {
      await cluster.program('createdb', database)
      return url(database)
    },
    program: async (program, ...args) =>
      (
        await run(join(bin, program), ['-h', folder, '-U', 'vmapipe', ...args], {
          ...options,
          env: { ...process.env, ...(tls && { PGPORT: String(tls.port) }) },
          maxBuffer: 64 << 20,
        })
      ).stdout,
    async start() {
      const args = ['-D', data, '-k', folder, ...listen, '-c', 'fsync=off', '-c', 'max_connections=60']
      let log = ''
      server = spawn(join(bin, 'postgres'), args, { ...options, stdio: ['ignore', 'ignore', 'pipe'] })
      server.stderr!.on('data', (text) => {
        log += text
      })
      for (let attempt = 0; attempt < 600; attempt++) {
        if (server.exitCode !== null) break
        if (
          await cluster.program('pg_isready', '-q').then(
            () => true,
            () => false,
          )
        )
          return
        await sleep(50)
      }
      throw new Error(`PostgreSQL did not start: ${log}`)
    },
    async kill() {
      if (server === null) return
      const ended = new Promise((resolve) => server!.once('close', resolve))
      // Its children end when they see that the postmaster is gone; killed first, they cannot finish anything.
      const children = readFileSync(`/proc/${server.pid}/task/${server.pid}/children`, 'latin1')
      server.kill('SIGKILL')
      for (const child of children.split(' ').filter(Boolean)) {
        try {
          process.kill(Number(child), 'SIGKILL')
        } catch {
          // It has ended.
        }
      }
      await ended
      server = null
    },
    async stop() {
      await cluster.kill()
      rmSync(folder, { recursive: true, force: true })
    },
  }
  await cluster.start()
  return cluster
}

/** PostgreSQL takes a key only if it is its own user's alone. */
function listenByTls(
  folder: string,
  data: string,
  { port, cert, key }: TlsPort,
  owner: { uid: number; gid: number } | null,
): string[] {
  const files = { cert: join(folder, 'server.pem'), key: join(folder, 'server.key') }
  copyFileSync(cert, files.cert)
  copyFileSync(key, files.key)
  chmodSync(files.key, 0o600)
  if (owner !== null) for (const file of Object.values(files)) chownSync(file, owner.uid, owner.gid)
  writeFileSync(join(data, 'pg_hba.conf'), 'local all all trust\nhostssl all all 127.0.0.1/32 trust\n')
  const set = { listen_addresses: '127.0.0.1', port, ssl: 'on', ssl_cert_file: files.cert, ssl_key_file: files.key }
  return Object.entries(set).flatMap(([name, value]) => ['-c', `${name}=${value}`])
}

/** PostgreSQL refuses to run as root. */
async function clusterUser(): Promise<{ uid: number; gid: number } | null> {
  if (userInfo().uid !== 0) return null
  for (const name of ['postgres', 'nobody']) {
    const ids = await Promise.all([run('id', ['-u', name]), run('id', ['-g', name])]).catch(() => null)
    if (ids !== null) return { uid: Number(ids[0].stdout), gid: Number(ids[1].stdout) }
  }
  throw new Error('there is neither a user postgres nor nobody')
}
