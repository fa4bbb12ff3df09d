import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { after, describe, test } from 'node:test'
import type { AxeResults } from 'axe-core'
import { needs } from '../../support/tools.ts'
import { CHROMIUM, closeBrowser, DESK, PHONE, type Shown, showPage } from './browser.ts'
import { allViews } from './views.ts'

const LIMIT = { timeout: 240_000, ...needs(CHROMIUM) }
const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')

after(closeBrowser)

/** The rules that look at colours. All others judge the same elements, at the same places, in the light and in the dark. */
const OF_COLOURS = ['color-contrast', 'link-in-text-block']

/** What axe finds that is serious or critical, as lines. */
async function serious({ page }: Shown, only?: readonly string[]): Promise<string[]> {
  // By the debugger, which no content policy holds for.
  if (!(await page.evaluate(() => 'axe' in globalThis))) await page.evaluate(axe)
  const found: AxeResults = await page.evaluate(
    (rules) => (globalThis as any).axe.run(document, { resultTypes: ['violations'], ...(rules && { runOnly: rules }) }),
    only,
  )
  assert.ok(found.passes.length > (only === undefined ? 15 : 0), 'axe has looked')
  return found.violations
    .filter(({ impact }) => impact === 'serious' || impact === 'critical')
    .flatMap(({ id, nodes }) => nodes.map(({ html, failureSummary }) => `${id}: ${html}\n  ${failureSummary}`))
}

/** Whether anything is wider than the screen. */
const sideways = ({ page }: Shown) => page.evaluate(() => document.documentElement.scrollWidth - innerWidth)

const LOOKS = [
  { name: 'light', viewport: DESK, colorScheme: 'light', rules: undefined },
  { name: 'dark', viewport: DESK, colorScheme: 'dark', rules: OF_COLOURS },
  { name: 'light on a phone', viewport: PHONE, colorScheme: 'light', rules: undefined },
  { name: 'dark on a phone', viewport: PHONE, colorScheme: 'dark', rules: OF_COLOURS },
] as const

describe('every view, for everybody', () => {
  for (const { name, viewport, colorScheme, rules } of LOOKS) {
    test(`axe finds nothing serious: ${name}`, LIMIT, async (t) => {
      const shown = await showPage(t, { context: { viewport, colorScheme, reducedMotion: 'reduce' } })
      await shown.web.accounts.add('anna', 'a long enough password', 'look')
      for (const [view, hash] of Object.entries(await allViews(shown.web.house))) {
        await shown.view(hash)
        assert.deepEqual(await serious(shown, rules), [], view)
        assert.ok((await sideways(shown)) <= 0, `${view} is wider than the screen`)
      }
      assert.equal(await shown.page.evaluate(() => document.documentElement.dataset.theme), colorScheme)
      assert.deepEqual(shown.wrongs, [])
    })

    test(`nor in dialogs, menus and the sign-in: ${name}`, LIMIT, async (t) => {
      const shown = await showPage(t, { context: { viewport, colorScheme, reducedMotion: 'reduce' } })
      const { page } = shown
      const { archive } = await allViews(shown.web.house)
      await shown.view(archive)
      for (const button of ['Restore', 'Download', 'Add note']) {
        await page
          .getByRole('button', { name: button })
          .or(page.getByRole('button', { name: 'Edit note' }))
          .first()
          .click()
        await page.getByRole('dialog').waitFor()
        await page.waitForFunction(() => document.querySelector('.loading') === null)
        assert.deepEqual(await serious(shown, rules), [], button)
        await page.keyboard.press('Escape')
        await page.getByRole('dialog').waitFor({ state: 'detached' })
      }
      await shown.view('#/job/north/nightly')
      for (const button of ['Prune', 'Start']) {
        await page.getByRole('button', { name: button }).click()
        await page.locator('dialog .dialog-end').waitFor()
        assert.deepEqual(await serious(shown, rules), [], button)
        await page.keyboard.press('Escape')
        await page.getByRole('dialog').waitFor({ state: 'detached' })
      }
      await shown.view('#/guests')
      await page
        .getByRole('button', { name: /^Actions for/ })
        .first()
        .click()
      assert.deepEqual(await serious(shown, rules), [], 'menu')
      const stranger = await showPage(t, { role: null, context: { viewport, colorScheme } })
      assert.deepEqual(await serious(stranger, rules), [], 'sign-in')
    })
  }
})
