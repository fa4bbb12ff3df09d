/** Starts the planner, and stops it in good order. */

import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { asVmapipeError, printable, VmapipeError } from '../../core/errors.ts'
import { databaseUrl } from '../../fleet/config/database-url.ts'
import { takeJobsOf } from '../../fleet/config/jobs-folder.ts'
import { loadFleetConfig } from '../../fleet/config/load.ts'
import type { FleetConfig } from '../../fleet/config/schema.ts'
import type { Fleet } from '../../fleet/fleet.ts'
import { type CertificateFiles, readCertificate } from '../../fleet/server/certificates.ts'
import { type ListenAddress, parseListen } from '../../fleet/server/listen-address.ts'
import { FleetServer, refuseWithoutTls } from '../../fleet/server/server.ts'
import { openFleet } from '../../fleet/service/open.ts'
import { ownFolder, runtimeFolder, stateFolder } from '../../jobs/state/folders.ts'
import type { ServedPage } from '../page-serving.ts'
import { serviceManager } from '../service-manager.ts'
import { interruptible } from '../signals.ts'
import { noteLine } from '../text.ts'
import { SOCKET_NAME } from './planner-flags.ts'
import type { ServeFlags } from './serve-flags.ts'
import { planFleetPage, serveFleetPage } from './serve-page.ts'

const LISTEN = '127.0.0.1:8460'
const DAY_MS = 86_400_000
/** How often the line for the service manager is made anew. */
const STATUS_MS = 5000

interface Settings {
  listen: ListenAddress
  tls: CertificateFiles | undefined
  database: string | undefined
  folder: string
  config: FleetConfig
}

/** Milliseconds in which it ends: what it knows is written to the database, which may be slow. */
const END_MS = 10_000

export async function serveFleet(flags: ServeFlags): Promise<void> {
  const inform = (line: string) => void (flags.quiet || process.stderr.write(`${printable(line)}\n`))
  const warn = (line: string) => void process.stderr.write(`${noteLine('warning', line)}\n`)
  let reload = () => {}
  const { signal, dispose } = interruptible({ reload: () => reload(), grace: END_MS })
  const manager = serviceManager()
  let fleet: Fleet | null = null
  let server: FleetServer | null = null
  let page: ServedPage | null = null
  let look: NodeJS.Timeout | undefined
  try {
    const { listen, tls, database, folder, config } = await settingsOf(flags)
    const { storages, heartbeat, keep, jobs = null } = config
    // What would fail is found before the database is opened, which may take long.
    const plan = planFleetPage(flags, tls)
    const socket = join(await ownFolder(runtimeFolder()), SOCKET_NAME)
    const address = { listen, socket, ...(tls !== undefined && { tls }) }
    refuseWithoutTls(address)
    if (tls !== undefined) await readCertificate(tls)
    fleet = await openFleet({
      ...{ folder, inform, warn, signal },
      ...(database !== undefined && { database }),
      ...(storages !== undefined && { storages }),
      ...(heartbeat !== undefined && { heartbeat }),
      ...(keep !== undefined && { keep: keep / DAY_MS }),
    })
    const { people } = fleet
    const opened = fleet
    if (jobs !== null) await takeJobsOf(jobs, people, warn)
    const listening = new FleetServer({ ...address, fleet, jobsFrom: jobs, inform, warn })
    server = listening
    await listening.start()
    reload = () => {
      inform('reading the certificate, limits of storages and central jobs again')
      void listening.renewCertificate()
      if (flags.config !== undefined)
        loadFleetConfig(flags.config)
          .then((now) => opened.setStorages(now.storages ?? {}))
          .catch((error) => warn(`the limits of storages stay as they are: ${asVmapipeError(error).text}`))
      if (jobs !== null) takeJobsOf(jobs, people, warn).catch((error) => warn(asVmapipeError(error).text))
    }
    let status = await statusOf(people)
    manager.ready(() => status)
    look = setInterval(async () => {
      status = await statusOf(people)
    }, STATUS_MS).unref()
    inform(`ready: agents and people at ${listening.url}, the owner at ${socket}`)
    if (plan !== null) page = await serveFleetPage({ plan, fleet, folder, hasLink: flags.link, inform, warn })
    await aborted(signal)
    manager.stopping()
    inform('stopping')
  } finally {
    clearInterval(look)
    // First the server: those who wait for work are told that there is none.
    await Promise.all([server?.stop(), page?.close()])
    await fleet?.close()
    manager.end()
    dispose()
  }
  inform('stopped')
}

async function settingsOf(flags: ServeFlags): Promise<Settings> {
  const config = flags.config === undefined ? {} : await loadFleetConfig(flags.config)
  const cert = flags.tlsCert ?? config['tls-cert']
  const key = flags.tlsKey ?? config['tls-key']
  if ((cert === undefined) !== (key === undefined))
    throw new VmapipeError(
      'USAGE',
      `TLS needs a certificate and its key, and the ${cert === undefined ? 'certificate' : 'key'} is missing`,
      {
        hint: 'give both --tls-cert and --tls-key',
      },
    )
  const folder = flags.state ?? join(stateFolder(), 'fleet')
  await mkdir(folder, { recursive: true, mode: 0o700 }).catch((error) => {
    throw asVmapipeError(error, { file: folder })
  })
  const database = await databaseUrl({
    database: flags.database ?? config.database,
    passwordFile: flags.databasePasswordFile ?? config['database-password-file'],
  })
  const tls = cert === undefined || key === undefined ? undefined : { cert, key }
  return { listen: parseListen(flags.listen ?? config.listen ?? LISTEN), tls, database, folder, config }
}

/** For the service manager. It may be asked while the database is away. */
async function statusOf(people: Fleet['people']): Promise<string> {
  try {
    const { hosts, running, waiting, problems } = await people.status()
    const away = hosts.gone === 0 ? '' : `, ${hosts.gone} gone`
    return printable(
      `${hosts.up} hosts up${away}; ${running.length} works running, ${waiting.length} waiting${problems.length === 0 ? '' : `; ${problems[0]}`}`,
    )
  } catch (error) {
    return printable(asVmapipeError(error).text)
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve()
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }))
}
