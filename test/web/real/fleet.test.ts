import assert from 'node:assert/strict'
import { chmodSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import { startCli } from '../../cli/cli.ts'
import { startPlanner } from '../../cli/fleet/planner.ts'
import { freePorts } from '../../support/ports.ts'
import { needs } from '../../support/tools.ts'
import { hosted, until } from '../host/hosted.ts'
import { CHROMIUM, closeBrowser, openPage } from '../page/browser.ts'
import { LONGEST_MS, writingGuest } from './host-page.ts'

const LIMIT = { timeout: LONGEST_MS, ...needs(CHROMIUM) }

after(closeBrowser)

describe('the page of a fleet', () => {
  test(
    'backs up a guest of a host that has joined, cancels, verifies, rescans, prunes and drains; says why of the rest; a restart signs nobody out',
    LIMIT,
    async (t) => {
      const host = hosted(t)
      const control = await writingGuest(t, host, 'mail', 24)
      const job = (rate: string) =>
        host.jobOf(
          'live',
          `  - attach: ${control}\n`,
          `to: { place: ${host.place}, keep: { last: 1 } }\nlimits: { rate: ${rate} }\n`,
        )
      // So slow that it goes on until it is canceled.
      job('256KiB')
      const [port] = await freePorts(1)
      const planner = await startPlanner(t, ['--page', `127.0.0.1:${port}`])
      const token = join(host.dir, 'token')
      const given = await planner.fleet('token', 'new', 'north', '--guests', '*', '--out', token)
      assert.equal(given.code, 0, given.stderr)
      chmodSync(token, 0o600)
      const agent = startCli(['fleet', 'join', planner.url, '--token-file', token], {
        env: host.env,
        longest: LONGEST_MS,
      })
      t.after(() => agent.kill('SIGKILL'))
      let told = ''
      agent.stderr.on('data', (data) => {
        told += data
      })
      const link = await until(async () => /^http\S+#link=\S+$/m.exec(planner.printed())?.[0], 'the link')
      const { page, view, wrongs } = await openPage(t, link)
      const dialog = page.getByRole('dialog')
      const backup = page.getByRole('article', { name: 'Backup of mail' })

      await view('#/hosts')
      await page.getByRole('row').filter({ hasText: 'north' }).getByText('up').first().waitFor()
      await view('#/jobs')
      await page.getByRole('button', { name: 'Actions for live on north' }).click()
      await page.getByRole('menuitem', { name: 'Start' }).click()
      await dialog.getByRole('button', { name: 'Start 1 backup' }).click()
      await view('#/now')
      await backup.getByRole('progressbar').first().waitFor()
      await page.getByRole('button', { name: 'Cancel the backup of mail' }).click()
      await dialog.getByRole('button', { name: 'Cancel the backup' }).click()
      await backup.waitFor({ state: 'detached' })
      job('8MiB')

      await view('#/guests')
      await page.getByRole('button', { name: 'Actions for mail' }).first().click()
      await page.getByRole('menuitem', { name: 'Back up now' }).click()
      await dialog.getByRole('button', { name: 'Back up now' }).click()
      const list = () => readdirSync(join(host.place, 'mail')).filter((name) => /\.vma(\.zst)?$/.test(name))
      const archives = await until(async () => list().length === 1 && list(), `the archive: ${told}`)
      await view('#/archives')
      await page.locator('main a[href^="#/archive/"]').first().click()
      await page.getByRole('heading', { name: /^mail, / }).waitFor()
      await page.getByText(archives[0]).first().waitFor()
      await page.getByRole('button', { name: 'Verify', exact: true }).click()
      await page.getByText('verified').first().waitFor()
      for (const what of ['Restore …', 'Download …', 'Protect', 'Add note …']) {
        await page.locator('details.why summary').filter({ hasText: what }).click()
        await page.locator('details.why[open] .why-text').last().getByText('vmapipe').waitFor()
      }

      // An archive that no agent has made: a rescan finds it, and the plan has both.
      const later = join(host.place, 'mail/later.vma')
      const made = await host.cli('backup', '-d', `drive-scsi0=${host.disk('other')}`, '--guest', 'mail', '-o', later)
      assert.equal(made.code, 0, made.stderr)
      await view('#/hosts')
      await page.getByRole('button', { name: 'Rescan' }).click()
      await dialog.getByRole('button', { name: 'Rescan' }).click()
      await view('#/guest/north/mail')
      await page.getByText('2 archives').waitFor()
      await page.getByRole('button', { name: 'Prune' }).click()
      await dialog.getByText('Goes (1)').waitFor()
      await dialog.getByText(archives[0]).first().waitFor()
      await dialog.getByText('Stays (1)').click()
      await dialog.getByText('later.vma').first().waitFor()
      assert.equal(list().length, 2, 'a plan removes nothing')
      await dialog.getByRole('button', { name: 'Remove 1 archive' }).click()
      await dialog.waitFor({ state: 'detached' })
      await page.getByText('1 archive', { exact: true }).waitFor()
      assert.deepEqual(list(), ['later.vma'])

      await view('#/hosts')
      await page.getByRole('button', { name: 'Drain north' }).click()
      await dialog.getByRole('button', { name: 'Drain it' }).click()
      await page.getByText('drained').first().waitFor()
      await page.getByRole('button', { name: 'Take north back' }).click()
      await page.getByRole('button', { name: 'Drain north' }).waitFor()
      assert.deepEqual(wrongs, [])

      assert.equal(await planner.end(), 0)
      const again = await startPlanner(t, ['--page', `127.0.0.1:${port}`, '--no-link'], { dir: planner.dir })
      await until(async () => again.told().includes('the page is at'), 'the page again')
      await page.reload()
      await page.getByRole('row').filter({ hasText: 'north' }).first().waitFor()
    },
  )
})
