import assert from 'node:assert/strict'
import { after, describe, test } from 'node:test'
import type { Action } from '../../../src/web/house.ts'
import { needs } from '../../support/tools.ts'
import { CHROMIUM, closeBrowser, type Shown, showPage } from './browser.ts'
import { allViews } from './views.ts'

const LIMIT = { timeout: 120_000, ...needs(CHROMIUM) }

after(closeBrowser)

const asked = ({ web }: Shown): Action[] => web.house.asked.map(({ action }) => action)

/** Waits until the house was asked for so many things, and returns the last. */
async function lastAsked(shown: Shown, count: number): Promise<Action> {
  await shown.page.locator('.toast').first().waitFor()
  for (let tries = 0; asked(shown).length < count && tries < 600; tries++) await shown.page.waitForTimeout(100)
  assert.equal(asked(shown).length, count, JSON.stringify(asked(shown)))
  return asked(shown).at(-1)!
}

describe('what is done on the page', () => {
  test('a backup is canceled, after the page has said what happens', LIMIT, async (t) => {
    const shown = await showPage(t)
    const { page } = shown
    await page.getByRole('button', { name: 'Cancel the backup of web01' }).click()
    const dialog = page.getByRole('dialog')
    await assert.doesNotReject(dialog.getByText('is thrown away').waitFor())
    await dialog.getByRole('button', { name: 'Leave it' }).click()
    await dialog.waitFor({ state: 'detached' })
    assert.deepEqual(asked(shown), [])
    await page.getByRole('button', { name: 'Cancel the backup of web01' }).click()
    await dialog.getByRole('button', { name: 'Cancel the backup' }).click()
    assert.deepEqual(await lastAsked(shown, 1), { do: 'cancel', id: 'north-2' })
    await dialog.waitFor({ state: 'detached' })
    assert.deepEqual(shown.wrongs, [])
  })

  test('a guest is backed up from the list and from its own page, full if that is chosen', LIMIT, async (t) => {
    const shown = await showPage(t)
    const { page } = shown
    await shown.view('#/guests?q=web02')
    await page.getByRole('button', { name: 'Actions for web02' }).first().click()
    await page.getByRole('menuitem', { name: 'Back up now' }).click()
    await page.getByRole('dialog').getByRole('button', { name: 'Back up now' }).click()
    const first = await lastAsked(shown, 1)
    assert.equal(first.do, 'start')
    assert.ok(first.do === 'start' && first.guests?.[0] === 'web02' && first.full === false)
    const { guest } = await allViews(shown.web.house)
    await shown.view(guest)
    await page.getByRole('button', { name: 'Back up now' }).click()
    await page.getByRole('dialog').getByRole('checkbox').check()
    await page.getByRole('dialog').getByRole('button', { name: 'Back up now' }).click()
    const second = await lastAsked(shown, 2)
    assert.ok(second.do === 'start' && second.full === true)
    assert.deepEqual(shown.wrongs, [])
  })

  test('a job is started for all guests, or for some', LIMIT, async (t) => {
    const shown = await showPage(t)
    const { page } = shown
    await shown.view('#/jobs')
    await page.getByRole('button', { name: 'Actions for nightly on north' }).click()
    await page.getByRole('menuitem', { name: 'Start' }).click()
    await page
      .getByRole('dialog')
      .getByRole('button', { name: /^Start \d+ backups/ })
      .click()
    assert.deepEqual(await lastAsked(shown, 1), { do: 'start', host: 'north', job: 'nightly', full: false })
    await shown.view('#/job/north/nightly')
    await page.getByRole('button', { name: 'Start' }).click()
    const dialog = page.getByRole('dialog')
    await dialog.getByRole('radio', { name: 'Chosen guests' }).check()
    assert.ok(await dialog.getByRole('button', { name: /^Start/ }).isDisabled())
    await dialog.getByRole('searchbox').fill('web01')
    await dialog.getByLabel('web01', { exact: true }).check()
    await dialog.getByLabel('Full').check()
    await dialog.getByRole('button', { name: 'Start 1 backup' }).click()
    const some = { do: 'start', host: 'north', job: 'nightly', guests: ['web01'], full: true }
    assert.deepEqual(await lastAsked(shown, 2), some)
    assert.deepEqual(shown.wrongs, [])
  })

  test('an archive is verified, booted, protected, and gets a note', LIMIT, async (t) => {
    const shown = await showPage(t)
    const { page } = shown
    const archives = await shown.web.house.archives({})
    const archive = archives.find((row) => !row.protected && row.notes === null && row.unreadable === null)!
    const { host, id } = archive
    await shown.view(`#/archive/${encodeURIComponent(host)}/${encodeURIComponent(id)}`)
    await page.getByRole('button', { name: 'Verify', exact: true }).click()
    assert.deepEqual(await lastAsked(shown, 1), { do: 'verify', host, archive: id })
    await page.getByRole('button', { name: 'Boot test', exact: true }).click()
    assert.deepEqual(await lastAsked(shown, 2), { do: 'boot', host, archive: id })
    await page.getByRole('button', { name: 'Protect', exact: true }).click()
    assert.deepEqual(await lastAsked(shown, 3), { do: 'protect', host, archive: id, on: true })
    await page.getByRole('button', { name: 'Unprotect' }).click()
    await page.getByRole('dialog').getByRole('button', { name: 'Unprotect' }).click()
    assert.deepEqual(await lastAsked(shown, 4), { do: 'protect', host, archive: id, on: false })
    await page.getByRole('button', { name: 'Add note' }).click()
    await page.getByRole('textbox').fill('before the <b>upgrade</b>')
    await page.getByRole('button', { name: 'Save' }).click()
    assert.deepEqual(await lastAsked(shown, 5), {
      ...{ do: 'note', host, archive: id },
      ...{ text: 'before the <b>upgrade</b>', was: '' },
    })
    await page.locator('.notes').getByText('before the <b>upgrade</b>').waitFor()
    // Its tasks are shown, and can be canceled.
    await shown.view('#/now')
    await page.getByRole('button', { name: `Cancel: Verify ${archive.name}` }).click()
    await page.getByRole('dialog').getByRole('button', { name: 'Cancel the task' }).click()
    assert.equal((await lastAsked(shown, 6)).do, 'cancel')
    assert.deepEqual(shown.wrongs, [])
  })

  test('prune shows its plan with reasons first, and removes that very plan', LIMIT, async (t) => {
    const shown = await showPage(t)
    const { page } = shown
    const { guest: hash } = await allViews(shown.web.house)
    const guest = decodeURIComponent(hash.split('/')[3])
    await shown.view(hash)
    await page.getByRole('button', { name: 'Prune' }).click()
    const dialog = page.getByRole('dialog')
    const plan = await shown.web.house.prunePlan('north', 'nightly', guest)
    const goes = plan.rows.filter(({ stays }) => !stays)
    await dialog.getByText(`Goes (${goes.length})`).waitFor()
    await dialog.getByText(`Stays (${plan.rows.length - goes.length})`).click()
    await dialog.getByText('protected').first().waitFor()
    assert.deepEqual(asked(shown), [])
    await dialog.getByRole('button', { name: `Remove ${goes.length} archive` }).click()
    const action = await lastAsked(shown, 1)
    assert.ok(action.do === 'prune' && action.token === plan.token && action.guest === guest)
    assert.ok(goes.length > 0 && goes.length < plan.rows.length)
    assert.deepEqual(shown.wrongs, [])
  })

  test('a restore shows its command as one types, and asks for just that', LIMIT, async (t) => {
    const shown = await showPage(t)
    const { page } = shown
    const { archive } = await allViews(shown.web.house)
    await shown.view(archive)
    await page.getByRole('button', { name: 'Restore' }).click()
    const dialog = page.getByRole('dialog')
    const command = dialog.getByRole('region', { name: 'Restore command' })
    await command.getByText('--drive').waitFor()
    await dialog.getByLabel('New image for drive-scsi0').fill('/srv/new.raw')
    await command.getByText('drive-scsi0=/srv/new.raw').waitFor()
    await command.getByText('drive-efidisk0').waitFor()
    await dialog.getByLabel('drive-efidisk0').first().uncheck()
    // What is copied is what is shown: the command comes from the server, a moment later.
    await command.filter({ hasNotText: 'drive-efidisk0' }).waitFor()
    await dialog.getByRole('button', { name: 'Copy' }).click()
    await dialog.getByText('Copied').waitFor()
    assert.equal(await page.evaluate(() => navigator.clipboard.readText()), await command.innerText())
    await dialog.getByRole('radio', { name: 'QEMU folder' }).check()
    await dialog.getByLabel('New folder').fill('/srv/again')
    await command.getByText('--qemu /srv/again').waitFor()
    await dialog.getByRole('radio', { name: 'New libvirt guest' }).check()
    await dialog.getByLabel('Name of the new guest').fill('again')
    await command.getByText('--define again').waitFor()
    await dialog.getByRole('radio', { name: 'New images' }).check()
    await command.getByText('drive-scsi0=/srv/new.raw').waitFor()
    await dialog.getByRole('button', { name: 'Restore', exact: true }).click()
    const action = await lastAsked(shown, 1)
    assert.ok(action.do === 'restore')
    assert.deepEqual(action.form.drives, { 'drive-scsi0': '/srv/new.raw' })
    assert.equal(action.form.domain, undefined)
    assert.deepEqual(shown.wrongs, [])
  })

  test('a drive and one file are downloaded', LIMIT, async (t) => {
    const shown = await showPage(t, { house: { downloadSize: 300_000 } })
    const { page } = shown
    const { archive } = await allViews(shown.web.house)
    await shown.view(archive)
    await page.getByRole('button', { name: 'Download' }).click()
    const dialog = page.getByRole('dialog')
    const drive = page.waitForEvent('download')
    await dialog.getByRole('link', { name: 'drive-scsi0' }).click()
    assert.equal(await (await drive).failure(), null)
    await dialog.getByRole('radio', { name: 'One file' }).check()
    await dialog.getByRole('button', { name: 'drive-scsi0p1' }).click()
    await dialog.getByRole('link', { name: 'onerror' }).waitFor()
    await dialog.getByRole('button', { name: 'etc' }).click()
    const file = page.waitForEvent('download')
    await dialog.getByRole('link', { name: 'hostname' }).click()
    assert.equal(await (await file).failure(), null)
    await dialog.getByRole('button', { name: 'Filesystems' }).click()
    await dialog.getByRole('button', { name: 'drive-scsi0p2' }).waitFor()
    assert.equal(shown.web.house.downloads.length, 2)
    assert.deepEqual(shown.wrongs, [])
  })

  test('a host is drained and taken back, and a rescan asked for', LIMIT, async (t) => {
    const shown = await showPage(t)
    const { page } = shown
    await shown.view('#/hosts')
    await page.getByRole('button', { name: 'Drain north' }).click()
    await page.getByRole('dialog').getByRole('button', { name: 'Drain it' }).click()
    assert.deepEqual(await lastAsked(shown, 1), { do: 'drain', host: 'north', on: true })
    await page.getByRole('button', { name: 'Take north back' }).click()
    assert.deepEqual(await lastAsked(shown, 2), { do: 'drain', host: 'north', on: false })
    await page.getByRole('button', { name: 'Rescan' }).click()
    await page.getByRole('dialog').getByRole('button', { name: 'Rescan' }).click()
    assert.deepEqual(await lastAsked(shown, 3), { do: 'rescan' })
    assert.deepEqual(shown.wrongs, [])
  })

  test(
    'people get accounts, other roles, passwords and links, and lose them; sessions end; all is in the audit log',
    LIMIT,
    async (t) => {
      const shown = await showPage(t)
      const { page } = shown
      await shown.view('#/settings/people')
      await page.getByRole('button', { name: 'Add an account' }).click()
      const dialog = page.getByRole('dialog')
      await dialog.getByLabel('Name').fill('anna')
      await dialog.getByLabel('Password').fill('a long enough password')
      await dialog.getByLabel('Role').selectOption('operate')
      await dialog.getByRole('button', { name: 'Add the account' }).click()
      await page.getByLabel('Role of anna').selectOption('look')
      await page.getByText('anna may now look').waitFor()
      assert.equal((await shown.web.accounts.list())[0].role, 'look')
      await page.getByRole('button', { name: 'Actions for anna' }).click()
      await page.getByRole('menuitem', { name: 'New password' }).click()
      await dialog.getByLabel('New password').fill('another long password')
      await dialog.getByRole('button', { name: 'Set the password' }).click()
      await dialog.waitFor({ state: 'detached' })
      await page.getByRole('button', { name: 'One-time link' }).click()
      await dialog.getByRole('button', { name: 'Make the link' }).click()
      await dialog.getByText('#link=').waitFor()
      await dialog.getByRole('button', { name: 'Close', exact: true }).last().click()
      // Another browser of hers, whose session is ended here.
      const other = shown.web.browser()
      await other.signIn('/api/sign-in', { name: 'anna', password: 'another long password' })
      await shown.view('#/settings/sessions')
      await page.getByRole('button', { name: 'End this session of anna' }).click()
      await page.getByText('The session has ended').waitFor()
      await page.getByRole('button', { name: 'End this session of anna' }).waitFor({ state: 'detached' })
      await shown.view('#/settings/people')
      await page.getByRole('button', { name: 'Actions for anna' }).click()
      await page.getByRole('menuitem', { name: 'Remove' }).click()
      await dialog.getByRole('button', { name: 'Remove the account' }).click()
      await page.getByText('There are no accounts yet').waitFor()
      await shown.view('#/settings/audit')
      await page.getByRole('row').filter({ hasText: 'anna' }).first().waitFor()
      assert.deepEqual(shown.wrongs, [])
    },
  )

  test('one changes the own password, and signs out', LIMIT, async (t) => {
    const shown = await showPage(t, { role: null })
    const { page } = shown
    await shown.web.accounts.add('bo', 'the first password', 'operate')
    await page.getByLabel('Name').fill('bo')
    await page.getByLabel('Password').fill('the wrong password')
    await page.getByRole('button', { name: 'Sign in' }).click()
    await page.getByRole('alert').waitFor()
    await page.getByLabel('Password').fill('the first password')
    await page.getByRole('button', { name: 'Sign in' }).click()
    await page.getByRole('heading', { name: 'Now' }).waitFor()
    await shown.view('#/settings/own')
    await page.getByLabel('Old password').fill('the first password')
    await page.getByLabel('New password').fill('the second password')
    await page.getByRole('button', { name: 'Change password' }).click()
    await page.getByText('The password is changed').waitFor()
    await page.getByRole('button', { name: 'Sign out' }).click()
    await page.getByRole('heading', { name: 'Sign in' }).waitFor()
    // A browser says itself that a request was refused: that of the wrong password.
    assert.deepEqual(
      shown.wrongs.filter((wrong) => !/status of 401/.test(wrong)),
      [],
    )
  })

  test('what the house cannot do says why in its place; who may only look sees no buttons', LIMIT, async (t) => {
    const without = await showPage(t, { house: { without: ['restore', 'note'], download: false } })
    const { archive } = await allViews(without.web.house)
    await without.view(archive)
    await without.page.getByText('Restore …').click()
    await without.page.getByText('vmapipe restore').waitFor()
    assert.equal(await without.page.getByRole('dialog').count(), 0)
    const looker = await showPage(t, { role: 'look' })
    for (const [name, hash] of Object.entries(await allViews(looker.web.house))) {
      await looker.view(hash)
      const buttons = await looker.page
        .getByRole('button', {
          name: /^(Cancel|Start|Back up|Verify|Boot|Prune|Restore|Download|Drain|Rescan|Protect|Add note|Edit note)/,
        })
        .all()
      assert.deepEqual(await Promise.all(buttons.map((button) => button.innerText())), [], name)
    }
    assert.deepEqual(looker.web.house.asked, [])
  })

  test('what fails says so, and stays until it is closed', LIMIT, async (t) => {
    const shown = await showPage(t)
    const { page } = shown
    await page.route('**/api/act', (route) =>
      route.fulfill({
        status: 502,
        json: { error: { code: 'FAILED', message: 'no space left on device', hint: 'prune' } },
      }),
    )
    await page.getByRole('button', { name: 'Cancel the backup of web01' }).click()
    await page.getByRole('dialog').getByRole('button', { name: 'Cancel the backup' }).click()
    await page.locator('.toast.error').getByText('no space left on device').waitFor()
    // The dialog is still there, for another try.
    assert.equal(await page.getByRole('dialog').count(), 1)
  })
})
