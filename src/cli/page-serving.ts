/** Serves the page of a house, for the commands that do: accounts, links and the audit log are in one folder, whatever the house is. */

import { rm, stat } from 'node:fs/promises'
import { isIPv6 } from 'node:net'
import { VmapipeError } from '../core/errors.ts'
import type { SessionStore } from '../fleet/fleet.ts'
import { writeWhole } from '../jobs/state/files.ts'
import type { SocketFileOptions } from '../protocol/socket-file.ts'
import { Accounts } from '../web/accounts/accounts.ts'
import { AuditLog } from '../web/accounts/audit.ts'
import { Links, linkAddress } from '../web/accounts/links.ts'
import { SessionFile } from '../web/accounts/session-file.ts'
import type { House, Role } from '../web/house.ts'
import { pageFiles } from '../web/page-files.ts'
import { webApp } from '../web/server/app.ts'
import { checkSafe, type Listen, Peers, parseListen } from '../web/server/listen.ts'
import { type ServedWeb, serveWeb, type TlsFiles } from '../web/server/serve.ts'
import type { TrustedProxy } from '../web/server/web.ts'
import { type PageFlags, ROLE_NAMES } from './page-flags.ts'
import { socketAccess } from './socket-access.ts'
import { version } from './version.ts'
import { auditFromHere, type ServingFile, servingFile } from './web-people.ts'

/** Milliseconds between two looks at the certificate. */
const CERTIFICATE_MS = 60_000

/** What the flags say, checked. */
export interface PagePlan {
  listen: Listen
  tls?: TlsFiles
  access?: SocketFileOptions
  proxy?: TrustedProxy
  hostNames: readonly string[]
  /** Browsers reach the page by TLS. */
  isSecure: boolean
}

export interface ServedPage {
  /** What browsers open. */
  readonly address: string
  /** Browsers that look at it live. */
  readonly readers: number
  /** Makes a one-time link. */
  link(role: Role): Promise<string>
  /** Ends it in order; the house is still open then. */
  close(): Promise<void>
}

/** Throws USAGE for flags that do not fit each other, before anything is opened. */
export function planPage(flags: PageFlags): PagePlan {
  const listen = parseListen(flags.listen)
  const { tlsCert: cert, tlsKey: key, hostName: hostNames = [], behindProxy = false } = flags
  if ((cert === undefined) !== (key === undefined))
    throw new VmapipeError('USAGE', 'a certificate needs its key', { hint: 'give both --tls-cert and --tls-key' })
  const tls = cert === undefined || key === undefined ? undefined : { cert, key }
  checkSafe(listen, tls !== undefined)
  if (!('path' in listen) && (flags.socketMode ?? flags.socketGroup) !== undefined)
    throw new VmapipeError('USAGE', 'there is no socket that could have this mode or group', {
      hint: 'give the path of a unix socket to --listen',
    })
  const access = socketAccess(flags)
  const proxy = proxyOf(flags)
  return {
    ...{ listen, hostNames, isSecure: tls !== undefined || behindProxy },
    ...(tls && { tls }),
    ...(access && { access }),
    ...(proxy && { proxy }),
  }
}

function proxyOf(flags: PageFlags): TrustedProxy | null {
  const { behindProxy, trustFrom = [], trustHeader, headerRole, groupHeader, group = [] } = flags
  if (trustFrom.length > 0 && !behindProxy)
    throw new VmapipeError('USAGE', 'nobody is trusted without a proxy', { hint: 'give --behind-proxy' })
  if (trustHeader !== undefined && trustFrom.length === 0)
    throw new VmapipeError('USAGE', `nothing says whose header ${trustHeader} is believed`, {
      hint: 'give --behind-proxy and --trust-from ADDRESS, that of the proxy',
    })
  if ((groupHeader !== undefined || group.length > 0) && trustHeader === undefined)
    throw new VmapipeError('USAGE', 'groups are those of a user whom a proxy names', {
      hint: 'give --trust-header NAME',
    })
  if (trustFrom.length === 0) return null
  const groups = new Map(group.map(([name, role]) => [name, roleNamed(role)]))
  return {
    ...{ peers: new Peers(trustFrom), role: headerRole, groups },
    ...(trustHeader !== undefined && { userHeader: trustHeader.toLowerCase() }),
    ...(groupHeader !== undefined && { groupHeader: groupHeader.toLowerCase() }),
  }
}

function roleNamed(text: string): Role {
  const role = ROLE_NAMES.find((one) => one === text)
  if (role === undefined)
    throw new VmapipeError('USAGE', `'${text}' is no role`, { hint: 'look, operate or administer' })
  return role
}

interface Serving {
  house: House
  /** That of accounts, links and the audit log. */
  folder: string
  /** Keeps who is signed in; a file in `folder` by default. */
  sessions?: SessionStore
  warn: (message: string) => void
}

export async function servePage(plan: PagePlan, { house, folder, sessions, warn }: Serving): Promise<ServedPage> {
  const { listen, tls, access, proxy, hostNames, isSecure } = plan
  const accounts = await new Accounts({ folder }).open()
  await accounts.prepare()
  const links = new Links(folder)
  const audit = new AuditLog({ folder, warn })
  const file = sessions === undefined ? await SessionFile.open(folder) : null
  const sessionStore = sessions ?? file
  if (sessionStore === null) warn('another page has this state: who signs in to this one is signed out by its restart')
  let address = ''
  const web = webApp({
    ...{
      house,
      accounts,
      links,
      audit,
      page: pageFiles,
      listen,
      version: version(),
      isSecure,
      warn,
      hostNames,
    },
    ...(proxy && { proxy }),
    ...(sessionStore && { sessionStore }),
    base: () => address,
  })
  await web.sessions.load()
  const served = await serveWeb({ web, listen, ...(tls && { tls }), ...(access && { access }) })
  address = addressOf(plan, served)
  const timer = tls === undefined ? undefined : watchCertificate(tls, served, warn)
  await writeWhole(servingFile(folder), JSON.stringify({ pid: process.pid, address } satisfies ServingFile))
  return {
    address,
    get readers() {
      return web.readers
    },
    async link(role) {
      const { id, token } = await links.make(role)
      await auditFromHere(folder, 'make-link', `link-${id}, role ${role}`)
      return linkAddress(address, token)
    },
    async close() {
      clearInterval(timer)
      await served.close()
      await web.sessions.kept()
      await file?.close()
      await rm(servingFile(folder), { force: true })
    },
  }
}

function addressOf({ listen, hostNames: [name], isSecure }: PagePlan, { port }: ServedWeb): string {
  const scheme = isSecure ? 'https' : 'http'
  if ('path' in listen) return `${scheme}://${name ?? 'localhost'}`
  const isAny = listen.host === '0.0.0.0' || listen.host === '::'
  const host = name ?? (isAny ? 'localhost' : listen.host)
  return `${scheme}://${isIPv6(host) ? `[${host}]` : host}:${port}`
}

/** A certificate is replaced every few weeks, by programs that do not know of us. */
function watchCertificate({ cert, key }: TlsFiles, served: ServedWeb, warn: (message: string) => void): NodeJS.Timeout {
  const look = async () =>
    (
      await Promise.all(
        [cert, key].map((path) =>
          stat(path).then(
            ({ mtimeMs }) => mtimeMs,
            () => 0,
          ),
        ),
      )
    ).join()
  let known = look()
  return setInterval(async () => {
    const now = await look()
    if (now === (await known)) return
    known = Promise.resolve(now)
    await served.reloadTls().catch(() => warn(`the certificate '${cert}' cannot be used: the former one stays`))
  }, CERTIFICATE_MS).unref()
}
