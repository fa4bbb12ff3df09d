import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { delimiter, join } from 'node:path'
import { after, describe, test } from 'node:test'
import { vmapipe } from '../../cli/cli.ts'
import { needs } from '../../support/tools.ts'
import { until } from '../host/hosted.ts'
import { CHROMIUM, closeBrowser, openPage } from '../page/browser.ts'
import { commandFolder, LONGEST_MS, serveHostPage } from './host-page.ts'

const LIMIT = { timeout: LONGEST_MS, ...needs(CHROMIUM) }
const PASSWORD = 'a password of the test'

after(closeBrowser)

describe('guests at rest on the page of their host', () => {
  test('are backed up; their archives are verified, kept, noted, restored, downloaded and pruned', LIMIT, async (t) => {
    const host = await serveHostPage(t)
    const disk = host.disk('web', 8 << 20)
    const archives = join(host.place, 'web')
    const list = () => readdirSync(archives).filter((name) => /\.vma(\.zst)?$/.test(name))
    const guests = `  - { name: web, drives: { drive-scsi0: ${disk} } }\n  - { name: db, drives: { drive-scsi0: ${host.disk('db')} } }\n`
    host.jobOf('nightly', guests, `to: { place: ${host.place}, keep: { last: 1 } }\n`)
    const { page, view, wrongs } = await openPage(t, host.link)
    const dialog = page.getByRole('dialog')

    await view('#/jobs')
    await page.getByRole('button', { name: `Actions for nightly on ${hostname()}` }).click()
    await page.getByRole('menuitem', { name: 'Start' }).click()
    await dialog.getByRole('button', { name: 'Start 2 backups' }).click()
    await page.getByRole('row').filter({ hasText: 'nightly' }).getByText('complete').first().waitFor()
    await view('#/archives?q=web')
    await page.locator('main a[href^="#/archive/"]').first().click()
    await page.getByRole('heading', { name: /^web, / }).waitFor()
    const address = new URL(page.url()).hash

    await page.getByRole('button', { name: 'Verify', exact: true }).click()
    await page.getByText('verified').first().waitFor()
    await page.getByRole('button', { name: 'Protect', exact: true }).click()
    await page.getByRole('button', { name: 'Unprotect' }).waitFor()
    await page.getByRole('button', { name: 'Add note' }).click()
    await page.getByRole('textbox').fill('before the <b>upgrade</b> of $(it)')
    await page.getByRole('button', { name: 'Save' }).click()
    await page.locator('.notes').getByText('before the <b>upgrade</b> of $(it)').waitFor()
    const [name] = list()
    const known = (await host.cli('archives', host.place, '--guest', 'web', '--json')).stdout.toString()
    assert.match(known, /"protected": ?true/)
    assert.match(known, /before the <b>upgrade<\/b> of \$\(it\)/)

    // The form begins in the folder that was allowed; another is refused before anything is asked for.
    await page.getByRole('button', { name: 'Restore' }).click()
    const target = dialog.getByLabel('New image for drive-scsi0')
    assert.equal(await target.inputValue(), join(host.restored, 'web-drive-scsi0.raw'))
    const [byForm, byShell] = ['by-form.raw', 'by-shell.raw'].map((file) => join(host.restored, file))
    const command = dialog.getByRole('region', { name: 'Restore command' })
    await target.fill(byShell)
    await command.getByText(byShell).waitFor()
    const PATH = [commandFolder(host), process.env.PATH].join(delimiter)
    execFileSync('/bin/sh', ['-c', await command.innerText()], {
      env: { ...process.env, ...host.env, PATH },
      stdio: 'pipe',
    })
    await target.fill(join(host.dir, 'elsewhere.raw'))
    await command.getByText('elsewhere.raw').waitFor()
    await dialog.getByRole('button', { name: 'Restore', exact: true }).click()
    await page.locator('.toast.error').getByText('nothing may be restored to').waitFor()
    await target.fill(byForm)
    await command.getByText(byForm).waitFor()
    await dialog.getByRole('button', { name: 'Restore', exact: true }).click()
    await dialog.waitFor({ state: 'detached' })
    await view('#/now')
    await page.locator('.task').filter({ hasText: 'Restore' }).getByText('done').waitFor()
    const bytes = readFileSync(disk)
    for (const restored of [byForm, byShell]) assert.ok(bytes.equals(readFileSync(restored)), restored)

    await view(address)
    await page.getByRole('button', { name: 'Download' }).click()
    const downloading = page.waitForEvent('download')
    await dialog.getByRole('link', { name: 'drive-scsi0' }).click()
    const saved = join(host.dir, 'saved.raw')
    await (await downloading).saveAs(saved)
    assert.ok(bytes.equals(readFileSync(saved)), 'the download')
    await dialog.getByRole('button', { name: 'Close', exact: true }).last().click()

    // Three archives: the newest stays by the keys of the job, the oldest is protected.
    for (const file of ['later.vma', 'latest.vma'])
      await host.cli('backup', '-d', `drive-scsi0=${disk}`, '--guest', 'web', '-o', join(archives, file))
    assert.equal(list().length, 3)
    await view(`#/guest/${encodeURIComponent(hostname())}/web`)
    await page.getByRole('button', { name: 'Prune' }).click()
    await dialog.getByText('Goes (1)').waitFor()
    await dialog.getByText('Stays (2)').click()
    await dialog.getByText('protected').first().waitFor()
    assert.equal(list().length, 3)
    await dialog.getByRole('button', { name: 'Remove 1 archive' }).click()
    await until(async () => list().length === 2, 'one archive fewer')
    assert.ok(list().includes(name) && list().includes('latest.vma'), list().join())
    await view(address)
    await page.getByRole('button', { name: 'Unprotect' }).click()
    await dialog.getByRole('button', { name: 'Unprotect' }).click()
    await page.getByRole('button', { name: 'Protect', exact: true }).waitFor()
    // A browser says itself that a request was refused: that of the restore to another folder.
    assert.deepEqual(
      wrongs.filter((wrong) => !/status of 4\d\d/.test(wrong)),
      [],
    )
  })

  test('are seen by who has an account and may look, who gets no button', LIMIT, async (t) => {
    const host = await serveHostPage(t)
    host.job('nightly', { web: host.disk('web') })
    const added = await vmapipe(['web', 'user', 'add', 'anna'], { env: host.env, input: Buffer.from(`${PASSWORD}\n`) })
    assert.equal(added.code, 0, added.stderr)
    const { page, view, wrongs } = await openPage(t, host.origin)
    await page.getByLabel('Name').fill('anna')
    await page.getByLabel('Password').fill(PASSWORD)
    await page.getByRole('button', { name: 'Sign in' }).click()
    await page.getByRole('heading', { name: 'Now', exact: true }).waitFor()
    await view('#/guests')
    await page.getByRole('link', { name: 'web', exact: true }).first().click()
    await page.getByRole('heading', { name: 'web', exact: true }).waitFor()
    assert.equal(await page.getByRole('button', { name: /^(Back up|Prune)/ }).count(), 0)
    // The link signs in once: whoever had it is administrator, and sees what anna did.
    const other = await openPage(t, host.link)
    await other.view('#/settings/audit')
    await other.page.getByRole('row').filter({ hasText: 'anna' }).first().waitFor()
    const again = await openPage(t, host.link)
    await again.page.getByRole('alert').waitFor()
    assert.deepEqual([...wrongs, ...other.wrongs], [])
  })
})
