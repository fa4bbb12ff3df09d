import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { after, describe, test } from 'node:test'
import type { Page } from 'playwright-core'
import { makeBootable, needsBootable } from '../../support/guest/bootable.ts'
import { writeImage } from '../../support/image.ts'
import { libguestfsEnvironment, needsLibguestfs } from '../../support/libguestfs.ts'
import { needsLibvirt, startLibvirt } from '../../support/libvirt.ts'
import { domainXml } from '../../support/libvirt-domain.ts'
import { tmpDir } from '../../support/tmp.ts'
import { needs } from '../../support/tools.ts'
import { CHROMIUM, closeBrowser, openPage } from '../page/browser.ts'
import { commandFolder, serveHostPage } from './host-page.ts'

const chromium = needs(CHROMIUM)

after(closeBrowser)

/** Starts the job on the page, and goes to the archive of its guest. */
async function backUp(page: Page, view: (hash: string) => Promise<void>, guest: string): Promise<void> {
  await view('#/jobs')
  const actions = page.getByRole('button', { name: 'Actions for nightly' })
  await actions.waitFor().catch(async (error) => {
    throw new Error(`the page shows: ${await page.innerText('body')}`, { cause: error })
  })
  await actions.click()
  await page.getByRole('menuitem', { name: 'Start' }).click()
  await page.getByRole('dialog').getByRole('button', { name: 'Start 1 backup' }).click()
  await page.getByRole('row').filter({ hasText: 'nightly' }).getByText('complete').first().waitFor()
  await view(`#/archives?q=${guest}`)
  await page.locator('main a[href^="#/archive/"]').first().click()
  await page.getByRole('heading', { name: new RegExp(`^${guest}, `) }).waitFor()
}

describe('a whole guest on the page of its host', () => {
  test('boots from its archive, and its screen is shown; a file of it is found and downloaded', {
    timeout: 850_000,
    ...[chromium, needsBootable('bios'), needsLibguestfs()].find(({ skip }) => skip),
  }, async (t) => {
    const host = await serveHostPage(t, libguestfsEnvironment())
    const disk = join(host.dir, 'disk')
    makeBootable(t, disk, { firmware: 'bios', behaviour: 'login' })
    host.job('nightly', { shop: disk })
    const { page, view, wrongs } = await openPage(t, host.link)
    const dialog = page.getByRole('dialog')
    await backUp(page, view, 'shop')
    // It takes its time; the files are looked at meanwhile.
    await page.getByRole('button', { name: 'Boot test' }).click()
    await page.getByRole('button', { name: 'Download' }).click()
    await dialog.getByRole('radio', { name: 'One file' }).check()
    page.setDefaultTimeout(500_000)
    await dialog.getByRole('button', { name: /^drive-scsi0/ }).click()
    await dialog.getByLabel('Search in this folder').fill('SYSLINUX.C')
    const downloading = page.waitForEvent('download')
    await dialog.getByRole('link', { name: /syslinux\.cfg/i }).click()
    const saved = join(host.dir, 'saved')
    await (await downloading).saveAs(saved)
    assert.match(readFileSync(saved, 'utf8'), /^append .*behaviour=login$/m)
    await dialog.getByRole('button', { name: 'Close', exact: true }).last().click()

    await page.getByText('booted', { exact: true }).first().waitFor()
    const screen = page.getByRole('img', { name: /^Screen at the end of the boot test/ })
    await screen.waitFor()
    const width = () => screen.evaluate((image) => (image as HTMLImageElement).naturalWidth)
    await page.waitForFunction(() => document.querySelector<HTMLImageElement>('.booted img')?.complete)
    assert.ok((await width()) > 300, `${await width()} pixels`)
    await page.locator('main a[href^="#/guest/"]').first().click()
    await page.getByRole('img', { name: /^Screen of shop/ }).waitFor()
    assert.deepEqual(wrongs, [])
  })

  test('becomes a new guest of libvirt, by the form and by the command that it shows', {
    timeout: 300_000,
    ...[chromium, needsLibvirt()].find(({ skip }) => skip),
  }, async (t) => {
    const hooks: (() => unknown)[] = []
    t.after(async () => {
      for (const hook of hooks.reverse()) await hook()
    })
    const own = { after: (hook: () => unknown) => void hooks.push(hook) }
    const { uri, virsh } = await startLibvirt(own, tmpDir(own))
    const host = await serveHostPage(own, { LIBVIRT_DEFAULT_URI: uri })
    const disk = join(host.dir, 'shop.img')
    writeImage(disk, 6 << 20, { noise: 3 << 20 })
    writeFileSync(join(host.dir, 'shop.xml'), domainXml({ name: 'shop', disks: [{ file: disk }] }))
    await virsh('define', join(host.dir, 'shop.xml'))
    host.jobOf('nightly', `  - libvirt: shop\n    connect: ${JSON.stringify(uri)}\n`, `to: ${host.place}\n`)
    const { page, view, wrongs } = await openPage(t, host.link)
    const dialog = page.getByRole('dialog')
    await backUp(page, view, 'shop')
    const address = new URL(page.url()).hash
    const form = async (name?: string) => {
      await view(address)
      await page.getByRole('button', { name: 'Restore' }).click()
      await dialog.getByRole('radio', { name: 'New libvirt guest' }).check()
      if (name === undefined) return
      await dialog.getByLabel('Name of the new guest').fill(name)
      await dialog.getByLabel('New folder for its images').fill(join(host.restored, name))
    }
    // What the form begins with can be done.
    await form()
    assert.equal(await dialog.getByLabel('Name of the new guest').inputValue(), 'shop-restored')
    await dialog.getByRole('button', { name: 'Restore', exact: true }).click()
    await dialog.waitFor({ state: 'detached' })
    await view('#/now')
    await page.locator('.task').filter({ hasText: 'Restore' }).getByText('done').waitFor()

    await form('by-shell')
    const command = dialog.getByRole('region', { name: 'Restore command' })
    // Of the whole form, of which the folder was filled in last.
    await command.getByText(join(host.restored, 'by-shell')).first().waitFor()
    const PATH = [commandFolder(host), process.env.PATH].join(delimiter)
    const env = { ...process.env, ...host.env, PATH }
    execFileSync('/bin/sh', ['-c', await command.innerText()], { env, stdio: 'pipe' })

    const bytes = readFileSync(disk)
    const identities = new Set([await virsh('domuuid', 'shop')])
    const macs = new Set<string>()
    for (const name of ['shop', 'shop-restored', 'by-shell']) {
      const xml = await virsh('dumpxml', name, '--inactive')
      macs.add(/mac address='([^']+)'/.exec(xml)![1])
      if (name === 'shop') continue
      identities.add(await virsh('domuuid', name))
      const [image] = readdirSync(join(host.restored, name))
      assert.ok(readFileSync(join(host.restored, name, image)).equals(bytes), name)
      assert.ok(xml.includes(`<source file='${join(host.restored, name, image)}'/>`), xml)
    }
    assert.deepEqual([identities.size, macs.size], [3, 3], 'all three can run at once')
    assert.deepEqual(wrongs, [])
  })
})
