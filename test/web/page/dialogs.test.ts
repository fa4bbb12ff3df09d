import assert from 'node:assert/strict'
import { after, describe, test } from 'node:test'
import { needs } from '../../support/tools.ts'
import { CHROMIUM, closeBrowser, showPage } from './browser.ts'
import { allViews } from './views.ts'

const LIMIT = { timeout: 120_000, ...needs(CHROMIUM) }

after(closeBrowser)

describe('a dialog', () => {
  test('stays open while text is selected to beyond its edge; a click beside it closes it', LIMIT, async (t) => {
    const { page, view, web } = await showPage(t)
    await view((await allViews(web.house)).archive)
    await page.getByRole('button', { name: /note …/ }).click()
    const dialog = page.getByRole('dialog')
    await dialog.getByRole('textbox').fill('what took an hour to write')
    const box = (await dialog.getByRole('textbox').boundingBox())!
    await page.mouse.move(box.x + 200, box.y + 15)
    await page.mouse.down()
    await page.mouse.move(5, box.y + 15, { steps: 5 })
    await page.mouse.up()
    assert.equal(await dialog.getByRole('textbox').inputValue(), 'what took an hour to write')
    await page.mouse.click(5, 5)
    await dialog.waitFor({ state: 'detached' })
  })

  test('of a prune shows the files that go, and the new plan if archives have changed since', LIMIT, async (t) => {
    const { page, view, web } = await showPage(t)
    const { guest: hash } = await allViews(web.house)
    const { rows, ...plan } = await web.house.prunePlan('north', 'nightly', decodeURIComponent(hash.split('/')[3]))
    const goes = rows.filter(({ stays }) => !stays)
    await view(hash)
    await page.getByRole('button', { name: 'Prune' }).click()
    const dialog = page.getByRole('dialog')
    await dialog
      .getByRole('link', { name: goes[0].place.split('/').at(-1)!, exact: true })
      .first()
      .waitFor()
    assert.equal(await dialog.getByText(goes[0].archive, { exact: true }).count(), 0, 'an id tells nobody anything')
    await page.route('**/api/act', (route) =>
      route.fulfill({
        status: 400,
        json: { error: { code: 'USAGE', message: 'the archives have changed', hint: 'look' } },
      }),
    )
    await page.route('**/api/prune-plan*', (route) =>
      route.fulfill({ json: { ...plan, token: 'plan-2', rows: [goes[0], ...rows.filter(({ stays }) => stays)] } }),
    )
    await dialog.getByRole('button', { name: `Remove ${goes.length} archive` }).click()
    await dialog.getByText('the archives have changed').waitFor()
    const asked = page.waitForRequest('**/api/act')
    await page.route('**/api/act', (route) => route.fulfill({ json: { id: 'task-1' } }))
    await dialog.getByRole('button', { name: 'Remove 1 archive', exact: true }).click()
    await dialog.waitFor({ state: 'detached' })
    assert.equal((await asked).postDataJSON().token, 'plan-2')
  })
})

describe('who listens to the page', () => {
  test('is told when a backup begins, changes and ends, and not of each percent', LIMIT, async (t) => {
    const { page, web } = await showPage(t, { house: { every: 200 } })
    await page.evaluate(() => {
      const told: string[] = []
      Object.assign(globalThis, { told })
      const live = document.querySelector('main p[aria-live=polite]')!
      const look = () => told.push(live.textContent!)
      new MutationObserver(look).observe(live, { childList: true, characterData: true, subtree: true })
    })
    const told = () => page.evaluate(() => (globalThis as unknown as { told: string[] }).told)
    const percents = new Set<string>()
    while (percents.size < 2) percents.add(await page.locator('.percent').first().innerText())
    assert.ok((await told()).length <= 2, (await told()).join('\n'))
    await web.house.act({ do: 'start', host: 'south', job: 'nightly', guests: ['late-comer'] }, 'somebody')
    const heard = (pattern: RegExp) =>
      page.waitForFunction(
        (source) => (globalThis as unknown as { told: string[] }).told.some((text) => new RegExp(source).test(text)),
        pattern.source,
      )
    await heard(/late-comer: (preparing|backing up)/)
  })
})

describe('the form of a restore', () => {
  test(
    'begins with names that a guest and a folder may have, and shows no command of an earlier form',
    LIMIT,
    async (t) => {
      const { page, view, web } = await showPage(t)
      const archive = (await web.house.archives({})).find(({ guest }) => guest?.startsWith('<img'))!
      await view(`#/archive/${archive.host}/${encodeURIComponent(archive.id)}`)
      await page.getByRole('button', { name: 'Restore' }).click()
      const dialog = page.getByRole('dialog')
      const command = dialog.getByRole('region', { name: 'Restore command' })
      await command.getByText('--drive').waitFor()
      await dialog.getByRole('radio', { name: 'New libvirt guest' }).check()
      assert.equal(await dialog.getByLabel('Name of the new guest').inputValue(), 'img-src-x-onerror-alert-1-restored')
      await page.route('**/api/restore-command', (route) =>
        route.fulfill({ status: 400, json: { error: { code: 'USAGE', message: 'no such name', hint: 'letters' } } }),
      )
      await dialog.getByLabel('Name of the new guest').fill('?')
      await dialog.getByText('no such name: letters').waitFor()
      assert.equal(await command.count(), 0)
      assert.equal(await dialog.getByRole('button', { name: 'Restore', exact: true }).isDisabled(), true)
    },
  )
})

describe('a menu', () => {
  test('of the last row opens within the screen', LIMIT, async (t) => {
    for (const viewport of [
      { width: 1280, height: 700 },
      { width: 390, height: 700 },
    ]) {
      const { page, view } = await showPage(t, { context: { viewport } })
      await view('#/guests')
      const button = page.getByRole('button', { name: /^Actions for/ }).last()
      // The row is at the lower edge, above the navigation of a phone.
      await button.evaluate((element) => {
        const { bottom } = element.getBoundingClientRect()
        scrollBy(0, bottom - innerHeight + 70)
      })
      await button.click()
      const box = (await page.getByRole('menu').boundingBox())!
      const end = viewport.width > 720 ? 700 : (await page.getByRole('navigation', { name: 'Views' }).boundingBox())!.y
      assert.ok(box.y >= 0 && box.y + box.height <= end, JSON.stringify([box, end]))
    }
  })
})
