import assert from 'node:assert/strict'
import { readdirSync } from 'node:fs'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import type { Page } from 'playwright-core'
import { needs } from '../../support/tools.ts'
import { until } from '../host/hosted.ts'
import { CHROMIUM, closeBrowser, openPage } from '../page/browser.ts'
import { LONGEST_MS, serveHostPage, writingGuest } from './host-page.ts'

const LIMIT = { timeout: LONGEST_MS, ...needs(CHROMIUM) }
const WIDTHS = [1320, 900, 360]

after(closeBrowser)

describe('a running guest on the page of its host', () => {
  test('is backed up and shown live; a second backup of it is canceled', LIMIT, async (t) => {
    const host = await serveHostPage(t)
    const control = await writingGuest(t, host, 'mail', 24)
    // So slow that it goes on until all was looked at.
    const job = host.jobOf('live', `  - attach: ${control}\n`, `to: ${host.place}\nlimits: { rate: 256KiB }\n`)
    const { page, view, wrongs } = await openPage(t, host.link)
    await view('#/jobs')
    await page.getByRole('button', { name: `Actions for live on ${hostname()}` }).click()
    await page.getByRole('menuitem', { name: 'Start' }).click()
    await page.getByRole('dialog').getByRole('button', { name: 'Start 1 backup' }).click()
    await page.getByRole('link', { name: 'Now' }).first().click()

    const backup = page.getByRole('article', { name: 'Backup of mail' })
    const stages = backup.getByRole('list', { name: 'Stages of the backup of mail' }).getByRole('listitem')
    await stages.getByText('compressor').waitFor()
    await stages.getByText('bottleneck').waitFor()
    await page.waitForFunction(() =>
      [...document.querySelectorAll('.rate')].some((rate) => /^[1-9].*iB\/s/.test(rate.textContent)),
    )
    await backup.getByRole('img', { name: /Write latency of mail in milliseconds: now / }).waitFor()
    await backup.getByRole('progressbar').first().waitFor()
    // Those that only count what passes are on the arrows.
    await backup.getByRole('img', { name: /^through .*census/ }).waitFor()
    const few = await stages.count()
    const all = backup.getByRole('button', { name: /^All \d+ stages/ })
    const number = Number(/\d+/.exec(await all.innerText()))
    assert.ok(number > few && few >= 4, `${few} of ${number}`)
    for (const width of WIDTHS) {
      await page.setViewportSize({ width, height: 800 })
      assert.deepEqual(await overlaps(page), [], `${width} pixels wide`)
    }
    await all.click()
    assert.equal(await stages.count(), number)
    for (const width of WIDTHS.toReversed()) {
      await page.setViewportSize({ width, height: 800 })
      assert.deepEqual(await overlaps(page), [], `all stages, ${width} pixels wide`)
    }
    const limited = await host.cli('job', 'limit', job, 'none')
    assert.equal(limited.code, 0, limited.stderr)
    await backup.waitFor({ state: 'detached' })
    const list = () => readdirSync(join(host.place, 'mail')).filter((name) => /\.vma(\.zst)?$/.test(name))
    const archive = await until(async () => list()[0], 'the archive')
    const verified = await host.cli('verify', join(host.place, 'mail', archive))
    assert.equal(verified.code, 0, verified.stderr)

    await view('#/guests')
    await page.getByRole('button', { name: 'Actions for mail' }).first().click()
    await page.getByRole('menuitem', { name: 'Back up now' }).click()
    await page.getByRole('dialog').getByRole('button', { name: 'Back up now' }).click()
    await view('#/now')
    await stages.getByText('compressor').waitFor()
    await page.getByRole('button', { name: 'Cancel the backup of mail' }).click()
    await page.getByRole('dialog').getByRole('button', { name: 'Cancel the backup' }).click()
    await backup.waitFor({ state: 'detached' })
    await view('#/jobs')
    await page.getByText('canceled').first().waitFor()
    assert.deepEqual(
      readdirSync(join(host.place, 'mail')).filter((name) => /\.vm[ai]/.test(name)),
      [archive],
    )
    assert.deepEqual(wrongs, [])
  })
})

/** What is not inside its card, and rates that a box hides. */
function overlaps(page: Page): Promise<string[]> {
  return page.evaluate(() => {
    const wrong: string[] = []
    const text = (element: Element) => element.textContent ?? ''
    for (const card of document.querySelectorAll('.running')) {
      const around = card.getBoundingClientRect()
      const boxes = [...card.querySelectorAll('.stage-box')]
      for (const one of [...boxes, ...card.querySelectorAll('.rate, .passed')]) {
        const { left, right, width } = one.getBoundingClientRect()
        if (left < around.left || right > around.right || width < 8) wrong.push(`outside: ${text(one)}`)
      }
      for (const box of boxes) {
        if (box.scrollWidth > box.clientWidth) wrong.push(`wider than its box: ${text(box)}`)
        const its = box.getBoundingClientRect()
        for (const rate of card.querySelectorAll('.rate')) {
          const { left, right, top, bottom } = rate.getBoundingClientRect()
          const apart = left >= its.right || right <= its.left || top >= its.bottom || bottom <= its.top
          if (!apart) wrong.push(`${text(rate)} is behind ${text(box)}`)
        }
      }
    }
    if (document.documentElement.scrollWidth > innerWidth) wrong.push('the page is wider than the window')
    return wrong
  })
}
