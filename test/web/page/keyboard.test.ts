import assert from 'node:assert/strict'
import { after, describe, test } from 'node:test'
import { needs } from '../../support/tools.ts'
import { CHROMIUM, closeBrowser, type Shown, showPage } from './browser.ts'
import { allViews } from './views.ts'

const LIMIT = { timeout: 120_000, ...needs(CHROMIUM) }

after(closeBrowser)

/** The element that has the focus: its name, and whether one sees that it has it. */
const focused = ({ page }: Shown) =>
  page.evaluate(() => {
    const element = document.activeElement as HTMLElement
    const { outlineStyle, outlineWidth } = getComputedStyle(
      element.matches('.segments input') ? element.parentElement! : element,
    )
    return {
      tag: element.tagName,
      name: (element.getAttribute('aria-label') ?? element.innerText ?? '').trim(),
      visible: outlineStyle !== 'none' && outlineWidth !== '0px',
    }
  })

/** Waits until the element with this name has the focus: a key is done before the page has drawn what follows. */
async function gotFocus(shown: Shown, name: RegExp): Promise<void> {
  for (let tries = 0; tries < 1200; tries++) {
    if (name.test((await focused(shown)).name)) return
    await shown.page.waitForTimeout(50)
  }
  assert.fail(`${name} does not get the focus, but ${(await focused(shown)).name}`)
}

/** Presses Tab until an element with this name has the focus. */
async function tabTo(shown: Shown, name: RegExp): Promise<void> {
  for (let presses = 0; presses < 150; presses++) {
    await shown.page.keyboard.press('Tab')
    if (name.test((await focused(shown)).name)) return
  }
  assert.fail(`${name} is not reached`)
}

describe('the page with the keyboard alone', () => {
  test('letters lead to each view, / to the search, ? to the list of keys', LIMIT, async (t) => {
    const shown = await showPage(t)
    const { page } = shown
    const keys = { g: 'Guests', a: 'Archives', j: 'Jobs', h: 'Hosts', s: 'Settings', n: 'Now' }
    for (const [key, title] of Object.entries(keys)) {
      const head = page.locator('h1', { hasText: title })
      // On a busy machine the second key may come too late.
      for (let tries = 0; tries < 5 && !(await head.isVisible()); tries++) {
        await page.keyboard.press('g')
        await page.keyboard.press(key)
        await head.waitFor({ timeout: 4000 }).catch(() => {})
      }
      await head.waitFor()
    }
    await page.keyboard.press('?')
    await page.getByRole('dialog', { name: 'Keyboard' }).waitFor()
    await page.keyboard.press('Escape')
    await page.getByRole('dialog').waitFor({ state: 'detached' })
    await shown.view('#/guests')
    await page.getByRole('searchbox').waitFor()
    await page.keyboard.press('/')
    await page.locator('[type=search]:focus').waitFor()
    await page.keyboard.type('gg mail')
    assert.equal(await page.getByRole('searchbox').inputValue(), 'gg mail')
    assert.match(page.url(), /guests/)
  })

  test('the first stop skips to the content; a new view begins at its head', LIMIT, async (t) => {
    const shown = await showPage(t)
    const { page } = shown
    await page.keyboard.press('Tab')
    await gotFocus(shown, /^Skip to the content$/)
    await page.keyboard.press('Enter')
    await gotFocus(shown, /^Now$/)
    await tabTo(shown, /^Cancel the backup of web01$/)
    await page.keyboard.press('g')
    await page.keyboard.press('j')
    await page.locator('h1', { hasText: 'Jobs' }).waitFor()
    await gotFocus(shown, /^Jobs$/)
  })

  test('every stop is seen, in every view', LIMIT, async (t) => {
    const shown = await showPage(t)
    const { page } = shown
    for (const [view, hash] of Object.entries(await allViews(shown.web.house))) {
      await shown.view(hash)
      for (let presses = 0; presses < 25; presses++) {
        await page.keyboard.press('Tab')
        const { tag, name, visible } = await focused(shown)
        // The head has the focus when a view begins, which may be a moment later; it is no stop.
        if (tag !== 'BODY' && tag !== 'H1') assert.ok(visible, `${view}: ${tag} ${name}`)
      }
    }
  })

  test('a backup is canceled: the dialog holds the focus, and gives it back', LIMIT, async (t) => {
    const shown = await showPage(t)
    const { page } = shown
    await tabTo(shown, /^Cancel the backup of web01$/)
    await page.keyboard.press('Enter')
    await page.getByRole('dialog').waitFor()
    for (let presses = 0; presses < 8; presses++) {
      await page.keyboard.press('Tab')
      const inside = await page.evaluate(
        () => document.activeElement === document.body || document.activeElement?.closest('dialog') !== null,
      )
      assert.ok(inside)
    }
    await page.keyboard.press('Escape')
    await page.getByRole('dialog').waitFor({ state: 'detached' })
    await gotFocus(shown, /^Cancel the backup of web01$/)
    await page.keyboard.press('Enter')
    await tabTo(shown, /^Cancel the backup$/)
    await page.keyboard.press('Enter')
    await page.getByText('web01 is being canceled').waitFor()
    assert.deepEqual(
      shown.web.house.asked.map(({ action }) => action),
      [{ do: 'cancel', id: 'north-2' }],
    )
  })

  test('a menu opens, its items are walked by arrows, and Escape returns', LIMIT, async (t) => {
    const shown = await showPage(t)
    const { page } = shown
    await shown.view('#/guests?q=web01')
    await tabTo(shown, /^Actions for web01$/)
    await page.keyboard.press('Enter')
    await gotFocus(shown, /^Back up now/)
    await page.keyboard.press('ArrowDown')
    await gotFocus(shown, /^Archives$/)
    await page.keyboard.press('End')
    await gotFocus(shown, /^Details$/)
    await page.keyboard.press('Escape')
    await gotFocus(shown, /^Actions for web01$/)
    assert.equal(await page.getByRole('menu').count(), 0)
  })

  test('days of the calendar are walked by arrows, and Enter shows the runs of one', LIMIT, async (t) => {
    const shown = await showPage(t)
    const { page } = shown
    await shown.view('#/jobs')
    await page.locator('.day[tabindex="0"]').focus()
    const today = (await focused(shown)).name
    await page.keyboard.press('ArrowLeft')
    assert.notEqual((await focused(shown)).name, today)
    await page.keyboard.press('ArrowRight')
    assert.equal((await focused(shown)).name, today)
    await page.keyboard.press('ArrowLeft')
    await page.keyboard.press('Enter')
    assert.match(page.url(), /day=\d{4}-\d\d-\d\d/)
  })
})
