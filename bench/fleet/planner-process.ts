/** The planner of the benchmark, in a process of its own: the service on a real PostgreSQL, the server of agents and the page of the fleet. */

import { FleetServer } from '../../src/fleet/server/server.ts'
import { openFleet } from '../../src/fleet/service/open.ts'
import { Accounts } from '../../src/web/accounts/accounts.ts'
import { AuditLog } from '../../src/web/accounts/audit.ts'
import { Links } from '../../src/web/accounts/links.ts'
import { FleetHouse } from '../../src/web/fleet/fleet-house.ts'
import { webApp } from '../../src/web/server/app.ts'
import { placeholderPage } from '../../src/web/server/page-files.ts'
import { type ServedWeb, serveWeb } from '../../src/web/server/serve.ts'
import { answerParent } from './messages.ts'

const [database, folder, storages] = process.argv.slice(2)
const warn = (line: string) => void process.stderr.write(`planner: ${line}\n`)
const fleet = await openFleet({ database, folder, storages: JSON.parse(storages), warn })
const server = new FleetServer({ fleet, listen: { host: '127.0.0.1', port: 0 }, warn })
await server.start()
/** It reads the history when it begins. */
async function servePage(): Promise<{ web: ServedWeb; link: string }> {
  const links = new Links(folder)
  const listen = { host: '127.0.0.1', port: 0 }
  const house = new FleetHouse(fleet.people, { name: 'fleet' })
  const people = { accounts: new Accounts({ folder }), links, audit: new AuditLog({ folder }) }
  // A browser asks a few times in a minute and this one hundreds of times, so for limits a second passes each time.
  let now = Date.now()
  const tick = () => {
    now += 1000
    return now
  }
  const about = { page: placeholderPage(), version: '0.0.0', isSecure: false, warn, now: tick }
  const web = await serveWeb({ web: webApp({ house, listen, ...people, ...about }), listen })
  return { web, link: (await links.make('operate')).token }
}

let page: ServedWeb | undefined

answerParent({
  async urls() {
    const { web, link } = await servePage()
    page = web
    return { agents: server.url, page: `http://127.0.0.1:${page.port}`, link }
  },
  async tokens(hosts: string[]) {
    const texts: string[] = []
    for (const name of hosts) texts.push((await fleet.tokens.make({ name, kind: 'agent' })).text)
    return texts
  },
  /** Processor time so far in seconds, and memory. */
  async used() {
    const { user, system } = process.cpuUsage()
    const { rss, heapUsed } = process.memoryUsage()
    return {
      processor: (user + system) / 1e6,
      resident: rss,
      heap: heapUsed,
      most: process.resourceUsage().maxRSS * 1024,
    }
  },
  async running() {
    const { running, waiting } = await fleet.people.status()
    return { running: running.length, waiting: waiting.length }
  },
  async stop() {
    await page?.close()
    await server.stop()
    await fleet.close()
    setTimeout(() => process.exit(), 100)
  },
})
