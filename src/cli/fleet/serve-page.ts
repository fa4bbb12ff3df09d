/** The page of a fleet, beside its planner. */

import { join } from 'node:path'
import { asVmapipeError } from '../../core/errors.ts'
import type { Fleet } from '../../fleet/fleet.ts'
import { FleetHouse } from '../../web/fleet/fleet-house.ts'
import { isLocal, parseListen } from '../../web/server/listen.ts'
import { type PagePlan, planPage, type ServedPage, servePage } from '../page-serving.ts'
import { tell } from '../text.ts'
import type { ServeFlags } from './serve-flags.ts'

/** Null if no page is asked for. Throws USAGE before anything is opened. The certificate is that of the planner; on loopback there is none. */
export function planFleetPage(flags: ServeFlags, tls: { cert: string; key: string } | undefined): PagePlan | null {
  if (flags.page === false) return null
  const own = tls === undefined || isLocal(parseListen(flags.page)) ? {} : { tlsCert: tls.cert, tlsKey: tls.key }
  const { tlsCert, tlsKey, ...rest } = flags
  return planPage({ ...rest, ...own, listen: flags.page })
}

interface FleetPage {
  plan: PagePlan
  fleet: Pick<Fleet, 'people' | 'sessions'>
  /** The folder of the planner. */
  folder: string
  hasLink: boolean
  inform: (line: string) => void
  warn: (line: string) => void
}

/** Null if it cannot be served, such as where its address is taken: guests are backed up all the same, and a warning says so. */
export async function serveFleetPage(options: FleetPage): Promise<ServedPage | null> {
  const { plan, fleet, folder, hasLink, inform, warn } = options
  const house = new FleetHouse(fleet.people, { name: 'fleet' })
  try {
    const page = await servePage(plan, { house, folder: join(folder, 'web'), sessions: fleet.sessions, warn })
    inform(`the page is at ${page.address}`)
    if (hasLink) {
      inform('this link signs one browser in, once, within ten minutes:')
      tell(await page.link('administer'))
    }
    return page
  } catch (error) {
    warn(`no page is served: ${asVmapipeError(error).text}`)
    return null
  }
}
