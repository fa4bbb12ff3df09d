/** Serves the page of this host until a signal ends it. */

import { spawn } from 'node:child_process'
import { rm } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { printable } from '../core/errors.ts'
import { writeWhole } from '../jobs/state/files.ts'
import { stateFolder } from '../jobs/state/folders.ts'
import { findProgram } from '../system/child.ts'
import { openHostHouse } from '../web/host/host-house.ts'
import type { PageFlags } from './page-flags.ts'
import { planPage, servePage } from './page-serving.ts'
import { serviceManager } from './service-manager.ts'
import { interruptible } from './signals.ts'
import { count, noteLine, tell } from './text.ts'
import { version } from './version.ts'
import { webFolder } from './web-people.ts'

export interface WebFlags extends PageFlags {
  state?: string
  restoreTo?: string[]
  place?: string[]
  link: boolean
  open: boolean
  quiet?: boolean
}

/** Milliseconds in which it ends. The commands that the page has started end first, within two seconds each. */
const END_MS = 5_000

export async function serveHostPage({ state: given, restoreTo, place, ...flags }: WebFlags): Promise<void> {
  // Also for the commands that the page starts.
  if (given !== undefined) process.env.VMAPIPE_STATE = resolve(given)
  const plan = planPage(flags)
  const folder = webFolder(undefined)
  const say = (line: string) => void (flags.quiet || process.stderr.write(`${printable(line)}\n`))
  const warn = (message: string) => void process.stderr.write(`${noteLine('warning', message)}\n`)
  const { signal, dispose } = interruptible({ tell: () => say('serving the page'), grace: END_MS })
  const manager = serviceManager()
  const house = await openHostHouse({ state: stateFolder(), restoreTo, extraPlaces: place, version: version() })
  try {
    const page = await servePage(plan, { house, folder, warn })
    try {
      say(`the page is at ${page.address}${'path' in plan.listen ? `, by way of ${plan.listen.path}` : ''}`)
      if (flags.link) {
        const link = await page.link('administer')
        say('this link signs one browser in, once, within ten minutes:')
        tell(link)
        if (flags.open) await openBrowser(link, folder)
      }
      manager.ready(() => `serving the page to ${count(page.readers, 'browser')}`)
      await aborted(signal)
      manager.stopping()
      say('stopping')
    } finally {
      await rm(join(folder, 'open.html'), { force: true })
      await page.close()
    }
  } finally {
    await house.close()
    manager.end()
    dispose()
  }
}

/**
 * Only for somebody who sits in front of a desktop. The browser is given a file of this user, which leads to the link: others on this host see
 * the arguments of processes.
 */
async function openBrowser(link: string, folder: string): Promise<void> {
  const { DISPLAY, WAYLAND_DISPLAY, SSH_CONNECTION } = process.env
  const isDesktop = process.stdout.isTTY && (DISPLAY ?? WAYLAND_DISPLAY) !== undefined && SSH_CONNECTION === undefined
  const program = isDesktop ? findProgram('xdg-open') : undefined
  if (program === undefined) return
  const file = join(folder, 'open.html')
  await writeWhole(file, `<!doctype html><meta http-equiv="refresh" content="0;url=${link}">\n`)
  spawn(program, [file], { stdio: 'ignore', detached: true })
    .on('error', () => {})
    .unref()
}

/** Resolves when the signal is aborted, also if that was before the call. */
function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve()
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }))
}
