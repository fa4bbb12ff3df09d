import assert from 'node:assert/strict'
import { after, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Page } from 'playwright-core'
import { needs } from '../../support/tools.ts'
import { CHROMIUM, closeBrowser, showPage } from './browser.ts'

const LIMIT = { timeout: 240_000, ...needs(CHROMIUM) }

after(closeBrowser)

/** As if somebody looked at another tab, or at this one again. */
async function show(page: Page, visible: boolean): Promise<void> {
  await page.evaluate(
    (state) => {
      Object.defineProperty(document, 'visibilityState', { configurable: true, value: state })
      document.dispatchEvent(new Event('visibilitychange'))
    },
    visible ? 'visible' : 'hidden',
  )
}

async function until(is: () => boolean, what: string): Promise<void> {
  for (const end = performance.now() + 60_000; !is(); await sleep(20))
    if (performance.now() > end) throw new Error(`it never came: ${what}`)
}

describe('a page that stays open', () => {
  test(
    'says that its session has ended, and not that the server is away; no dialog covers the form',
    LIMIT,
    async (t) => {
      const { page, view, web } = await showPage(t)
      await view('#/hosts')
      await page.getByText('Live', { exact: true }).waitFor()
      await page.getByRole('button', { name: 'Rescan' }).click()
      await page.getByRole('dialog').waitFor()
      web.web.sessions.end(() => true)
      await page.getByRole('alert').getByText('Your session has ended').waitFor()
      assert.equal(await page.getByRole('dialog').count(), 0)
      await page.getByLabel('Name').fill('alice')
      const asked: string[] = []
      page.on('request', (request) => void asked.push(request.url()))
      await show(page, false)
      await show(page, true)
      await page.evaluate(() => new Promise((done) => setTimeout(done)))
      assert.deepEqual(asked, [], 'nothing is tried again until somebody signs in')
    },
  )

  test('has a role that was changed meanwhile as soon as its stream is begun again', LIMIT, async (t) => {
    const { page, web, origin } = await showPage(t, { role: null })
    await web.accounts.add('alice', 'correct horse battery', 'operate')
    await page.goto(origin)
    await page.getByLabel('Name').fill('alice')
    await page.getByLabel('Password').fill('correct horse battery')
    await page.getByRole('button', { name: 'Sign in' }).click()
    await page.getByRole('button', { name: 'Cancel the backup of mail01' }).waitFor()
    await web.accounts.change('alice', { role: 'look' })
    await page.route('**/api/events', (route) => route.abort())
    await show(page, false)
    await until(() => web.web.readers === 0, 'the end of the stream')
    await show(page, true)
    await page.getByRole('button', { name: 'Cancel the backup of mail01' }).waitFor({ state: 'detached' })
  })

  test('takes no connection while nobody sees it, and is live when somebody does', LIMIT, async (t) => {
    const { page, web, origin } = await showPage(t)
    // A browser has six connections to a server, and each stream takes one.
    const pages = [page]
    for (let i = 0; i < 7; i++) {
      await show(pages.at(-1)!, false)
      await until(() => web.web.readers === 0, 'the end of the stream')
      const next = await page.context().newPage()
      pages.push(next)
      await next.goto(origin)
      await next.getByText('Live', { exact: true }).waitFor()
    }
    await show(pages.at(-1)!, false)
    await until(() => web.web.readers === 0, 'the end of the last stream')
    await web.house.act({ do: 'start', host: 'south', job: 'nightly', guests: ['late-comer'] }, 'somebody')
    await show(page, true)
    await page.getByRole('article', { name: 'Backup of late-comer' }).waitFor()
    assert.equal(web.web.readers, 1)
  })

  test('tells ages by the clock of the server, whatever that of the browser says', LIMIT, async (t) => {
    const { page, origin } = await showPage(t)
    const ages = async () => {
      await page.goto('about:blank')
      await page.goto(`${origin}/#/guests`)
      const first = page.locator('.c-age time').first()
      await first.waitFor()
      await page.waitForFunction(() => document.querySelector('.live.live') !== null)
      return page.locator('.c-age time').allInnerTexts()
    }
    const right = await ages()
    await page.addInitScript(() => {
      const { now } = Date
      Date.now = () => now() - 86_400_000 * 100
    })
    assert.deepEqual(await ages(), right)
  })

  test('says that the server was updated', LIMIT, async (t) => {
    const { page, web } = await showPage(t)
    await page.getByText('Live', { exact: true }).waitFor()
    await page.route('**/api/session', async (route) => {
      const answer = await route.fetch()
      await route.fulfill({ response: answer, json: { ...(await answer.json()), version: '99.0.0' } })
    })
    await page.route('**/api/events', (route) => route.abort())
    await show(page, false)
    await until(() => web.web.readers === 0, 'the end of the stream')
    await show(page, true)
    await page.getByText('vmapipe was updated on the server').waitFor()
    await page.unrouteAll()
    await page.getByRole('button', { name: 'Load it again' }).click()
    await page.getByText('vmapipe was updated').waitFor({ state: 'detached' })
    await page.getByText('Live', { exact: true }).waitFor()
  })
})
