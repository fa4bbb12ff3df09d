import assert from 'node:assert/strict'
import { after, describe, test } from 'node:test'
import type { GuestRow } from '../../../src/web/house.ts'
import { needs } from '../../support/tools.ts'
import { CHROMIUM, closeBrowser, PHONE, showPage } from './browser.ts'
import { allViews } from './views.ts'

const LIMIT = { timeout: 120_000, ...needs(CHROMIUM) }

after(closeBrowser)

describe('the page in a browser', () => {
  test('a one-time link signs in, once, and leaves the address', LIMIT, async (t) => {
    const { page, wrongs, web } = await showPage(t)
    await page.getByRole('heading', { name: 'Now', exact: true }).waitFor()
    assert.doesNotMatch(page.url(), /link/)
    assert.deepEqual(wrongs, [])
    const again = await showPage(t, { role: null })
    await again.page.goto(`${again.origin}/#link=used-already`)
    await again.page.reload()
    await again.page.getByRole('alert').waitFor()
    await again.page.getByRole('heading', { name: 'Sign in' }).waitFor()
    assert.equal(web.house.asked.length, 0)
  })

  test(
    'every view shows what the house knows, with neither error, policy violation nor request elsewhere',
    LIMIT,
    async (t) => {
      const shown = await showPage(t, { house: { every: 300 } })
      for (const [name, hash] of Object.entries(await allViews(shown.web.house))) {
        await shown.view(hash)
        const text = await shown.page.locator('main').innerText()
        assert.ok(text.length > 60, name)
        assert.doesNotMatch(text, /undefined|NaN|\[object|Invalid Date/, name)
        assert.equal(await shown.page.locator('.alert.bad[role=alert]:has(button)').count(), 0, name)
      }
      assert.deepEqual(shown.wrongs, [])
    },
  )

  test('each backup is drawn as its pipeline, with the bottleneck marked, and its latency', LIMIT, async (t) => {
    const shown = await showPage(t)
    const { page } = shown
    const backup = page.getByRole('article', { name: 'Backup of mail01' })
    const stages = backup.getByRole('list', { name: 'Stages of the backup of mail01' }).getByRole('listitem')
    await stages.nth(5).waitFor()
    assert.equal(await stages.count(), 6)
    assert.match(await stages.nth(5).innerText(), /bottleneck[\s\S]*sink[\s\S]*s3[\s\S]*works 96 %[\s\S]*24\.0 MiB/)
    assert.match(await stages.nth(0).innerText(), /cluster-source[\s\S]*MiB\/s/)
    await backup.getByRole('img', { name: /Write latency of mail01 in milliseconds: now .*before 1\.20 ms/ }).waitFor()
    assert.ok((await backup.locator('canvas').count()) === 1)
    await backup.getByRole('progressbar').first().waitFor()
    await page.getByText('waits for the window of the job').waitFor()
    await page.getByText("the host 'attic' is gone").waitFor()
  })

  test(
    'it is live: what changes appears without being asked for; a lost connection is told, and comes back',
    LIMIT,
    async (t) => {
      const shown = await showPage(t)
      const { page, web } = shown
      await page.getByText('Live', { exact: true }).waitFor()
      await web.house.act({ do: 'start', host: 'south', job: 'nightly', guests: ['late-comer'] }, 'somebody')
      await page.getByRole('article', { name: 'Backup of late-comer' }).waitFor()
      await shown.view('#/archives')
      const [archive] = await web.house.archives({})
      await web.house.act({ do: 'note', host: archive.host, archive: archive.id, text: 'a new note' }, 'somebody')
      await page.getByText('“a new note”').waitFor()
      await page.context().setOffline(true)
      // An open stream may outlive the network: it is cut here.
      await page.route('**/api/events', (route) => route.abort())
      await page.evaluate(() => location.reload()).catch(() => {})
      await page.context().setOffline(false)
      await page.goto(shown.origin)
      await page.getByText('Not live: the connection').waitFor()
      await page.unroute('**/api/events')
      await page.getByText('Live', { exact: true }).waitFor()
      assert.equal(await page.getByText('Not live').count(), 0)
    },
  )

  test('what changes between the first answers and the first event is shown', LIMIT, async (t) => {
    const shown = await showPage(t)
    const { page, web, origin } = shown
    const gate = Promise.withResolvers<void>()
    await page.route('**/api/events', async (route) => {
      await gate.promise
      await route.continue()
    })
    await page.goto('about:blank')
    await page.goto(`${origin}/#/archives`)
    const [archive] = await web.house.archives({})
    await page.locator('main a[href^="#/archive/"]').first().waitFor()
    // Nobody looks any more, not even the page before.
    while (web.house.watchers > 0) await new Promise((resolve) => setTimeout(resolve, 20))
    await web.house.act({ do: 'note', host: archive.host, archive: archive.id, text: 'an early note' }, 'somebody')
    gate.resolve()
    await page.getByText('“an early note”').waitFor()
  })

  test('links lead to each view, and Back returns', LIMIT, async (t) => {
    const { page, view, origin } = await showPage(t)
    await page.getByRole('link', { name: 'Guests' }).click()
    await page.getByRole('heading', { name: 'Guests' }).waitFor()
    await page.getByRole('link', { name: 'web01', exact: true }).first().click()
    await page.getByRole('heading', { name: 'web01', exact: true }).waitFor()
    await page.goBack()
    await page.getByRole('heading', { name: 'Guests' }).waitFor()
    await page.goBack()
    await page.getByRole('heading', { name: 'Now', exact: true }).waitFor()
    await view('#/guests?q=db&state=good&sort=stored&down=1')
    const address = page.url()
    await page.goto('about:blank')
    await page.goto(address)
    assert.equal(await page.getByRole('searchbox').inputValue(), 'db')
    await page.goto(`${origin}/#/nowhere`)
    await page.getByText('There is no such view').waitFor()
  })

  test('a hostile name is text everywhere: no dialog, no request, no element', LIMIT, async (t) => {
    const shown = await showPage(t)
    const { page } = shown
    const name = '<img src=x onerror=alert(1)>'
    for (const [view, hash] of Object.entries(await allViews(shown.web.house))) {
      await shown.view(hash)
      assert.equal(await page.locator('img[src="x"], img[onerror], script:not([src])').count(), 0, view)
    }
    // A character that turns the direction would make one guest look like another.
    await shown.view('#/guests')
    assert.doesNotMatch(await page.locator('main').innerText(), /[\u202a-\u202e\u2066-\u2069]/)
    await page.getByText('\\u{202e}').first().waitFor()
    await shown.view(`#/guest/north/${encodeURIComponent(name)}`)
    assert.equal(await page.locator('h1').innerText(), name)
    await page.getByRole('button', { name: 'Back up now' }).click()
    await page.getByRole('dialog').getByText(name).first().waitFor()
    assert.deepEqual(shown.wrongs, [])
  })

  test('20,000 guests stay quick: few elements, whatever is scrolled to or searched for', LIMIT, async (t) => {
    const many: GuestRow[] = Array.from({ length: 20_000 }, (_, n) => ({
      ...{ host: `host${n % 500}`, guest: `guest-${String(n).padStart(5, '0')}`, source: 'libvirt', running: true },
      ...{ jobs: ['nightly'], lastGood: new Date(Date.now() - n * 5000).toISOString(), promise: 86_400, problem: null },
      state: (['good', 'late', 'overdue', 'unprotected'] as const)[n % 4],
      size: n * 2 ** 20,
      trend: Array.from({ length: 5 }, (_, at) => ({
        at: `2026-01-0${at + 1}T00:00:00Z`,
        stored: n,
        seconds: at + 1,
        outcome: 'done',
      })),
    }))
    const shown = await showPage(t, {
      before: async (page) => void (await page.route('**/api/guests', (route) => route.fulfill({ json: many }))),
    })
    const { page } = shown
    await shown.view('#/guests')
    const elements = () => page.evaluate(() => document.querySelectorAll('*').length)
    const table = page.getByRole('table', { name: 'Guests' })
    assert.equal(await table.getAttribute('aria-rowcount'), '20001')
    assert.ok((await elements()) < 2500, `${await elements()} elements`)
    await page.evaluate(() => scrollTo(0, document.body.scrollHeight))
    // Good ones are last, the youngest of them last of all.
    await page.getByRole('link', { name: 'guest-00000' }).waitFor()
    assert.ok((await elements()) < 2500, `${await elements()} elements`)
    await page.getByRole('searchbox').fill('guest-12345')
    await page.getByText('1 guest', { exact: true }).waitFor()
    assert.equal(await table.getByRole('link').count(), 1)
    await page.getByRole('searchbox').fill('')
    await page.getByRole('button', { name: /^late/ }).click()
    await page.getByText('5,000 guests', { exact: true }).waitFor()
    await page.getByRole('button', { name: 'Stored' }).click()
    await page.getByRole('link', { name: 'guest-00001', exact: true }).waitFor()
    // What one change costs the browser, in its own processor time.
    const client = await page.context().newCDPSession(page)
    await client.send('Performance.enable')
    const busy = async () =>
      (await client.send('Performance.getMetrics')).metrics.find(({ name }) => name === 'TaskDuration')!.value
    const before = await busy()
    await page.getByRole('searchbox').fill('guest-1')
    await page.getByText('2,500 guests', { exact: true }).waitFor()
    assert.ok((await busy()) - before < 3, 'a search takes less than three seconds of work')
  })

  test('archives of a large fleet are shown for one host, and asked for only then', LIMIT, async (t) => {
    const asked: string[] = []
    const { page, view } = await showPage(t, {
      before: async (page, { house }) => {
        const hosts = (await house.hosts()).map((row) => ({ ...row, guests: 9000 }))
        await page.route('**/api/hosts', (route) => route.fulfill({ json: hosts }))
        page.on('request', (request) => void (/api.archives/.test(request.url()) && asked.push(request.url())))
      },
    })
    await view('#/archives')
    await page.getByText('Of which host?').waitFor()
    assert.deepEqual(asked, [])
    await page.getByLabel('Host').selectOption('south')
    await page.getByRole('table', { name: 'Archives' }).waitFor()
    assert.match(asked.join(), /host=south/)
  })

  test('guests without protection are first; each has state and age in words', LIMIT, async (t) => {
    const { page, view, web } = await showPage(t)
    await view('#/guests')
    const rows = page.getByRole('table', { name: 'Guests' }).getByRole('row')
    const states = (await rows.allInnerTexts()).slice(1).map((text) => text.trim().split(/\s/)[0])
    const order = ['unprotected', 'overdue', 'late', 'good']
    assert.deepEqual(
      states,
      states.toSorted((a, b) => order.indexOf(a) - order.indexOf(b)),
    )
    assert.equal(states.length, (await web.house.guests()).length)
  })

  test(
    'of half a year only the newest runs are loaded, older ones if they are asked for, and those of one day',
    LIMIT,
    async (t) => {
      const { page, view, wrongs } = await showPage(t, { context: { timezoneId: 'UTC' } })
      const asked: URLSearchParams[] = []
      const loaded: number[] = []
      page.on('response', async (response) => {
        const { pathname, searchParams } = new URL(response.url())
        if (pathname !== '/api/runs') return
        asked.push(searchParams)
        loaded.push(((await response.json()) as unknown[]).length)
      })
      await view('#/jobs')
      const rows = (count: number) => page.locator(`table[aria-label="Runs"][aria-rowcount="${count + 1}"]`).waitFor()
      await rows(100)
      // The page may have it before this test.
      while (loaded.length === 0) await page.waitForTimeout(20)
      assert.deepEqual(loaded, [101])
      // The calendar knows of all of them: of more than 55 days.
      await page.locator('.day.all, .day.some, .day.none').nth(55).waitFor()
      await page.getByRole('button', { name: 'Show older ones' }).click()
      await rows(200)
      const square = page.locator('.day.some').last()
      const [, runs] = / (\d+) runs?, /.exec((await square.getAttribute('aria-label'))!)!
      assert.match((await square.getAttribute('aria-label'))!, /guests? failed, .* stored, the longest took /)
      await square.click()
      await rows(Number(runs))
      const day = asked.at(-1)!
      assert.equal(Date.parse(day.get('until')!) - Date.parse(day.get('since')!), 86_400_000)
      assert.equal(await page.getByRole('button', { name: 'Show older ones' }).count(), 0)
      await page.getByRole('button', { name: 'show all' }).click()
      await rows(100)
      assert.deepEqual(wrongs, [])
    },
  )

  test('a list is loaded again only if it is shown and has changed', LIMIT, async (t) => {
    const { page, view, web } = await showPage(t)
    await page.getByText('Live', { exact: true }).waitFor()
    await view('#/guests')
    const asked: string[] = []
    page.on('request', (request) => void asked.push(new URL(request.url()).pathname))
    web.house.poke('archives', 'jobs', 'hosts')
    web.house.poke('now')
    // What is told afterwards comes afterwards.
    const again = page.waitForRequest('**/api/guests')
    web.house.poke('guests')
    await again
    await view('#/hosts')
    await page.getByRole('row').filter({ hasText: 'north' }).first().waitFor()
    assert.deepEqual([...new Set(asked)].filter((path) => path.startsWith('/api/')).sort(), [
      '/api/guests',
      '/api/hosts',
    ])
  })

  test('what nothing is there for is told, with what comes next', LIMIT, async (t) => {
    const { page, view } = await showPage(t, {
      before: async (page) => {
        const empty = { at: new Date().toISOString(), whole: true, order: [], rows: [], tasks: [], problems: [] }
        await page.route('**/api/now', (route) => route.fulfill({ json: empty }))
        await page.route('**/api/events', (route) =>
          route.fulfill({ contentType: 'text/event-stream', body: `event: now\ndata: ${JSON.stringify(empty)}\n\n` }),
        )
        for (const name of ['guests', 'archives', 'hosts', 'runs', 'run-days'])
          await page.route(`**/api/${name}*`, (route) => route.fulfill({ json: [] }))
      },
    })
    await page.getByRole('heading', { name: /^All quiet\. Next: \w+, in / }).waitFor()
    await view('#/guests')
    await page.getByText('No guests are known').waitFor()
    await view('#/archives')
    await page.getByText('There are no archives').waitFor()
    await view('#/hosts')
    await page.getByText('No host has joined yet').waitFor()
  })

  test('the theme is that of the system until it is chosen, and is kept', LIMIT, async (t) => {
    const { page } = await showPage(t, { context: { colorScheme: 'dark' } })
    const theme = () => page.evaluate(() => document.documentElement.dataset.theme)
    assert.equal(await theme(), 'dark')
    await page.getByRole('button', { name: 'Light theme' }).click()
    assert.equal(await theme(), 'light')
    await page.reload()
    await page.getByRole('heading', { name: 'Now', exact: true }).waitFor()
    assert.equal(await theme(), 'light')
  })

  test('on a phone tables are cards, and everything is within 360 pixels', LIMIT, async (t) => {
    const { page, view, web } = await showPage(t, { context: { viewport: PHONE, hasTouch: true } })
    for (const [name, hash] of Object.entries(await allViews(web.house))) {
      await view(hash)
      const wide = await page.evaluate(() => document.documentElement.scrollWidth)
      assert.ok(wide <= 360, `${name} is ${wide} wide`)
    }
    await view('#/guests')
    const card = await page.getByRole('table', { name: 'Guests' }).getByRole('row').nth(1).boundingBox()
    assert.ok(card!.height > 80)
  })
})
