/** A real Chromium with the page of a made-up house in it. What the page must never do is noted: errors, requests elsewhere, dialogs, and what its content policy refused. */

import type { TestContext } from 'node:test'
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core'
import type { Role } from '../../../src/web/house.ts'
import { pageFiles } from '../../../src/web/page-files.ts'
import { which } from '../../support/tools.ts'
import { type TestedWeb, type TestedWebOptions, testedWeb } from '../../support/web.ts'

export interface Opened {
  page: Page
  /** Errors and warnings of the console, exceptions, dialogs, requests to other hosts, what the policy refused. */
  wrongs: string[]
  /** Goes to a view of the page, and waits for its head. */
  view(hash: string): Promise<void>
}

export interface Shown extends Opened {
  web: TestedWeb
  origin: string
}

export interface ShownOptions extends TestedWebOptions {
  /** Nobody is signed in if it is null. */
  role?: Role | null
  context?: BrowserContextOptions
  /** Called before the page is loaded. */
  before?: (page: Page, web: TestedWeb) => Promise<void>
}

/** Chromium without the windows of its desktop, which take half of its processor time; the whole one if only that is installed. */
export const CHROMIUM = which('chromium-headless-shell') === undefined ? 'chromium' : 'chromium-headless-shell'

let browser: Promise<Browser> | undefined

/** One browser for all tests of a file. */
function theBrowser(): Promise<Browser> {
  browser ??= chromium.launch({ executablePath: which(CHROMIUM), args: ['--no-sandbox', '--disable-dev-shm-usage'] })
  return browser
}

export async function closeBrowser(): Promise<void> {
  await (await browser)?.close()
}

export const PHONE = { width: 360, height: 740 }
export const DESK = { width: 1280, height: 800 }

export async function showPage(
  t: Pick<TestContext, 'after'>,
  { role = 'administer', context: contextOptions, before, ...options }: ShownOptions = {},
): Promise<Shown> {
  const web = await testedWeb({ page: await pageFiles(), ...options })
  const origin = `http://127.0.0.1:${web.port}`
  t.after(() => web.close())
  const token = role === null ? null : (await web.links.make(role)).token
  const opened = await openPage(t, token === null ? origin : `${origin}/#link=${token}`, {
    context: contextOptions,
    before: (page) => before?.(page, web) ?? Promise.resolve(),
  })
  return { ...opened, web, origin }
}

/** Runs in the page. */
const isLoaded = () => document.querySelector('.loading') === null

interface OpenOptions {
  context?: BrowserContextOptions
  /** Called before the page is loaded. */
  before?: (page: Page) => Promise<void>
}

/** Opens a page that is served already, as somebody who was given its address or its link. */
export async function openPage(
  t: Pick<TestContext, 'after'>,
  address: string,
  { context: contextOptions, before }: OpenOptions = {},
): Promise<Opened> {
  const { origin } = new URL(address)
  const context = await (await theBrowser()).newContext({
    viewport: DESK,
    permissions: ['clipboard-read', 'clipboard-write'],
    ...contextOptions,
  })
  t.after(() => context.close())
  const page = await context.newPage()
  const wrongs: string[] = []
  page.on('pageerror', (error) => wrongs.push(`exception: ${error.stack ?? error.message}`))
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) wrongs.push(`console: ${message.text()}`)
  })
  page.on('dialog', async (dialog) => {
    wrongs.push(`dialog: ${dialog.message()}`)
    await dialog.dismiss()
  })
  page.on('request', (request) => {
    const { origin: asked, protocol } = new URL(request.url())
    if (asked !== origin && protocol !== 'data:') wrongs.push(`request: ${request.url()}`)
  })
  await page.addInitScript(() => {
    addEventListener('securitypolicyviolation', ({ violatedDirective, blockedURI, sourceFile }) =>
      console.error(`policy: ${violatedDirective} ${blockedURI} ${sourceFile}`),
    )
  })
  page.setDefaultTimeout(150_000)
  await before?.(page)
  await page.goto(address)
  await page.waitForSelector('h1')
  await page.waitForFunction(isLoaded)
  // Keys are listened to after the first frame.
  await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => setTimeout(done))))
  return {
    ...{ page, wrongs },
    async view(hash) {
      // The head of the view before is there until the page has heard of it.
      await page.evaluate(
        (to) =>
          new Promise<void>((done) => {
            if (new URL(to, location.href).hash === location.hash) return done()
            addEventListener('hashchange', () => setTimeout(done), { once: true })
            location.hash = to
          }),
        hash,
      )
      await page.waitForSelector('h1')
      await page.waitForFunction(isLoaded)
    },
  }
}
