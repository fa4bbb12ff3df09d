/** A whole fleet: PostgreSQL, a planner and hosts as processes, each in a network namespace, and one folder that all hosts write to. */

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readdirSync, realpathSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { PeopleClient } from '../../../src/fleet/client/people-client.ts'
import type { WorkRow } from '../../../src/fleet/fleet.ts'
import { startCli, vmapipe } from '../../cli/cli.ts'
import { foldersOf, type Planner, startPlanner } from '../../cli/fleet/planner.ts'
import { type Authority, makeAuthority } from '../../support/certificates.ts'
import { writeImage } from '../../support/image.ts'
import { type Cluster, startPostgres } from '../../support/postgres.ts'
import { tmpDir } from '../../support/tmp.ts'
import type { Network } from './network.ts'
import { Observer } from './observer.ts'

const SHIFTED_CLOCK = join(import.meta.dirname, '../../support/shifted-clock.mjs')
const RELAY = join(import.meta.dirname, 'slow-relay.ts')
const PORT = 8460
export const HOSTS = ['h1', 'h2', 'h3', 'h4', 'h5'] as const
/** A processor that ten others use too delays everything: a host is gone after three times this. */
export const HEARTBEAT_MS = 2000
/** Backups at once on the one storage. */
export const MOST = 3
const SIZE = 8 << 20
/** Agents and the planner are killed if the test does not end them. */
const LONGEST_MS = 600_000

type Hooks = { after(hook: () => void): void }
export type Host = (typeof HOSTS)[number]

/** What a job file of a host has: the job with these guests. */
export type Jobs = Record<string, { guests: readonly string[]; rate: string; schedule?: string }>

export class FleetOfTest {
  readonly dir: string
  readonly place: string
  readonly network: Network
  readonly observer: Observer
  readonly #hooks: (() => void)[] = []
  readonly #agents = new Map<string, ChildProcess>()
  readonly #told = new Map<string, string>()
  #cluster!: Cluster
  #authority!: Authority
  #planner!: Planner

  private constructor(t: Hooks, network: Network) {
    this.network = network
    this.dir = realpathSync(tmpDir(t))
    this.place = join(this.dir, 'place')
    for (const folder of ['place', 'images', 'planner']) mkdirSync(join(this.dir, folder))
    this.observer = new Observer({ dir: this.dir, place: this.place, most: MOST, longest: HEARTBEAT_MS })
  }

  /** With its database and planner, and without hosts. */
  static async start(t: Hooks, network: Network): Promise<FleetOfTest> {
    const fleet = new FleetOfTest(t, network)
    t.after(() => fleet.close())
    fleet.#cluster = await startPostgres()
    fleet.#authority = makeAuthority(fleet.dir)
    await fleet.startPlanner()
    return fleet
  }

  get cluster(): Cluster {
    return this.#cluster
  }

  get planner(): Planner {
    return this.#planner
  }

  get people(): PeopleClient {
    return new PeopleClient({ socket: join(this.dir, 'planner/run/fleet.sock') })
  }

  async startPlanner(): Promise<void> {
    const config = join(this.dir, 'fleet.yaml')
    writeFileSync(config, `storages: { nas: { parallel: ${MOST} } }\nheartbeat: ${HEARTBEAT_MS / 1000}s\n`)
    const names = `IP:${this.network.address}`
    const { cert, key } = this.#authority.issue('planner', { names })
    const tls = ['--listen', `${this.network.address}:${PORT}`, '--tls-cert', cert, '--tls-key', key]
    this.#planner = await startPlanner(
      { after: (hook) => void this.#hooks.push(hook) },
      ['--config', config, '--database', this.#cluster.url, ...tls],
      { dir: join(this.dir, 'planner'), inside: this.network.inside('planner'), longest: LONGEST_MS },
    )
  }

  /** The image of a guest, which is where all hosts find it. */
  image(guest: string): string {
    return join(this.dir, 'images', `${guest}.raw`)
  }

  makeGuest(guest: string, size = SIZE): void {
    writeImage(this.image(guest), size, { noise: size >> 1, text: size >> 2 })
  }

  /** Writes the job files of a host: what is not named is there no more. */
  writeJobs(host: Host, jobs: Jobs): void {
    const folder = join(this.dir, host, 'config/vmapipe/jobs')
    mkdirSync(folder, { recursive: true })
    for (const [name, { guests, rate, schedule }] of Object.entries(jobs)) {
      const entries = guests.map((guest) => `  - { name: ${guest}, drives: { drive-scsi0: ${this.image(guest)} } }\n`)
      const text =
        `guests:\n${entries.join('')}to: { place: ${this.place}, storage: nas }\n` +
        `limits: { parallel: 4, rate: ${rate} }\n${schedule === undefined ? '' : `schedule: "${schedule}"\n`}`
      const file = join(folder, `${name}.yaml`)
      writeFileSync(`${file}.new`, text)
      renameSync(`${file}.new`, file)
    }
  }

  /** Lets a run of the job go on as fast as it can. */
  async raiseLimit(host: Host, job: string): Promise<void> {
    const { code, stderr } = await vmapipe(['job', 'limit', job, 'none'], { env: this.#environment(host) })
    if (code !== 0) throw new Error(stderr)
  }

  #environment(host: Host): Record<string, string> {
    const folder = join(this.dir, host)
    return { ...foldersOf(folder), XDG_CONFIG_HOME: join(folder, 'config') }
  }

  /** Makes the host known to the planner: it gets a token. */
  async admit(host: Host): Promise<void> {
    mkdirSync(join(this.dir, host), { recursive: true })
    const { code, stderr } = await this.#planner.fleet('token', 'new', host, '--out', join(this.dir, host, 'token'))
    if (code !== 0) throw new Error(stderr)
  }

  /** `port`: of what stands between the host and the planner. */
  join(host: Host, { env = {}, port = PORT }: { env?: Record<string, string>; port?: number } = {}): void {
    const folder = join(this.dir, host)
    const words = ['--token-file', join(folder, 'token'), '--ca', this.#authority.ca, '--parallel', '2']
    const agent = startCli(['fleet', 'join', `https://${this.network.address}:${port}`, ...words], {
      env: { ...this.#environment(host), ...env },
      inside: this.network.inside(host),
      longest: LONGEST_MS,
    })
    for (const stream of [agent.stdout, agent.stderr])
      stream.on('data', (text) => void this.#told.set(host, `${this.#told.get(host) ?? ''}${text}`))
    this.#agents.set(host, agent)
  }

  /** The environment of a host whose clock is ahead by so many milliseconds. */
  clock(host: Host, ahead: number): Record<string, string> {
    const file = join(this.dir, host, 'clock')
    writeFileSync(file, String(ahead))
    return { NODE_OPTIONS: `--import=${SHIFTED_CLOCK}`, SHIFTED_CLOCK: file }
  }

  /** Gives the port of a slow way to the planner. */
  async slowWay(): Promise<number> {
    const words = [RELAY, this.network.address, String(PORT + 1), String(PORT)]
    const [program, ...inside] = this.network.inside('planner')
    const relay = spawn(program, [...inside, process.execPath, ...words], { stdio: ['ignore', 'pipe', 'inherit'] })
    this.#hooks.push(() => relay.kill('SIGKILL'))
    await once(relay.stdout, 'data')
    return PORT + 1
  }

  /** What the agents of a host have said. */
  told(host: Host): string {
    return this.#told.get(host) ?? ''
  }

  async killAgent(host: Host): Promise<void> {
    await killed(this.#agents.get(host)!)
    this.#agents.delete(host)
  }

  async killPlanner(): Promise<void> {
    await this.#planner.end('SIGKILL')
  }

  /** Starts a job by the command line, and gives the ids of its works. */
  async begin(job: string, ...guests: string[]): Promise<string[]> {
    const words = guests.flatMap((guest) => ['--guest', guest])
    const { code, stdout, stderr } = await vmapipe(['fleet', 'start', job, ...words], { env: this.#planner.env })
    if (code !== 0) throw new Error(stderr)
    return stdout.toString().trim().split('\n')
  }

  async works(): Promise<WorkRow[]> {
    return await this.people.works({ most: 1000 })
  }

  /** Waits until the planner knows all of these guests, and their hosts are up. */
  async knows(guests: readonly string[]): Promise<void> {
    await this.until('all guests are known', async () => {
      const names = new Set((await this.people.guests()).map(({ name }) => name))
      const hosts = await this.people.hosts()
      return guests.every((name) => names.has(name)) && hosts.every(({ state }) => state === 'up')
    })
  }

  /** Waits until all of these works have ended. */
  async ended(ids: readonly string[]): Promise<WorkRow[]> {
    let rows: WorkRow[] = []
    await this.until(`the end of ${ids.length} works`, async () => {
      rows = (await this.works()).filter(({ id }) => ids.includes(id))
      return rows.length === ids.length && rows.every(({ ended }) => ended !== null)
    })
    return rows
  }

  /** Waits until something holds; if it does not come, says what planner and hosts have said. */
  async until(what: string, holds: () => Promise<boolean> | boolean, seconds = 100): Promise<void> {
    const end = Date.now() + seconds * 1000
    for (;;) {
      // The planner may be away.
      if (await Promise.resolve(holds()).catch(() => false)) return
      if (Date.now() > end) throw new Error(`waited ${seconds} s for this: ${what}\n${await this.#log()}`)
      await sleep(200)
    }
  }

  /** Waits until one of the guests is being backed up. Returns it. */
  async underWay(...guests: string[]): Promise<string> {
    let found: string | undefined
    await this.until(`a backup of ${guests.join(' or ')}`, () => {
      found = this.observer.now.find(({ guest }) => guests.includes(guest))?.guest
      return found !== undefined
    })
    return found!
  }

  /** Names of the archives of a guest. */
  archives(guest: string): string[] {
    try {
      return readdirSync(join(this.place, guest)).filter((name) => /\.vm[ai](\.\w+)?$/.test(name))
    } catch {
      return []
    }
  }

  async close(): Promise<void> {
    this.observer.close()
    await Promise.all([...this.#agents.values()].map(killed))
    for (const hook of this.#hooks) hook()
    await this.#cluster?.stop()
  }

  async #log(): Promise<string> {
    const works = await this.works().then(
      (rows) => rows.map(({ id, host, guest, state, reason }) => `${id} ${host} ${guest} ${state} ${reason}`),
      (error) => [`the planner: ${error.message}`],
    )
    const told = [...this.#told].map(([host, text]) => `--- ${host}\n${text.slice(-1500)}`)
    return [...works, '--- planner', this.#planner.told().slice(-1500), ...told].join('\n')
  }
}

async function killed(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const exited = once(child, 'exit')
  child.kill('SIGKILL')
  await exited
}
