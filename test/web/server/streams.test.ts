import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect } from 'node:net'
import { describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { brotliDecompressSync, gunzipSync } from 'node:zlib'
import { Changes } from '../../../src/web/server/changes.ts'
import { madeUpHouse } from '../../support/made-up-house.ts'
import { readEvents, testedWeb } from '../../support/web.ts'

const DOWNLOAD = '/api/download?host=north&archive=0-0-13&drive=drive-scsi0'

/** Waits for what comes to be, on a machine that may be slow. */
async function until(what: () => boolean): Promise<void> {
  for (let i = 0; i < 6000 && !what(); i++) await sleep(10)
  assert.ok(what(), what.toString())
}

describe('events', () => {
  test('begin with all there is, and go on with what has changed', async () => {
    const tested = await testedWeb()
    try {
      const browser = await tested.signedIn('operate')
      const stream = await browser.open('GET', '/api/events')
      assert.equal(stream.headers['content-type'], 'text/event-stream; charset=utf-8')
      const events = await readEvents(stream, (seen) => {
        const last = seen.at(-1)!
        if (seen.length === 2) {
          tested.house.poke('archives')
          void browser.post('/api/act', { do: 'cancel', id: 'north-1' })
        }
        return seen.length > 2 && last.event === 'now' && JSON.stringify(last.data).includes('canceled')
      })
      const [changed, first] = events
      assert.deepEqual([changed.event, changed.data.what.length], ['changed', 4])
      assert.deepEqual(
        [first.event, first.data.whole, first.data.rows.length, first.data.order.length],
        ['now', true, 6, 6],
      )
      assert.ok(events.some(({ data }, i) => i > 1 && data.what?.includes('archives')))
      const last = events.at(-1)!.data
      assert.equal(last.whole, false)
      assert.equal(last.order.length, 6)
      assert.ok(
        last.rows.every(({ phase }: any) => phase !== 'waiting'),
        'the waiting rows have not changed',
      )
      assert.equal(last.tasks, undefined, 'nor have the tasks')
    } finally {
      await tested.close()
    }
  })

  test('go on where a browser was cut off, or begin again if the server is another one', async () => {
    const changes = new Changes(madeUpHouse({ every: 0, now: () => 1_700_000_000_000 }), { lookMs: 1 })
    const first = changes.open(undefined)
    const text = (await first.next())!
    const id = /id: (\S+)/.exec(text)![1]
    const again = changes.open(id)
    assert.equal(await again.next(), 'retry: 2000\n\n: nothing has changed\n\n')
    for (const odd of ['0123456789ab.5', id.replace(/\.\d+$/, '.x'), 'nonsense', ''])
      assert.match((await changes.open(odd).next())!, /"whole":true/)
    changes.close()
  })

  test('a slow reader has no queue: it misses what is old, and costs no memory', async () => {
    const house = madeUpHouse({ every: 0 })
    const changes = new Changes(house, { lookMs: 1 })
    const [slow, quick] = [changes.open(undefined), changes.open(undefined)]
    await slow.next()
    let received = 0
    const reading = (async () => {
      for (let text = await quick.next(); text !== null; text = await quick.next()) received++
    })()
    for (let i = 0; i < 300; i++) {
      house.poke('now', 'guests')
      await sleep(1)
    }
    await until(() => received > 50)
    const text = (await slow.next())!
    assert.equal(text.match(/^event: now$/gm)!.length, 1, 'one state, the newest')
    assert.equal(text.match(/^event: changed$/gm)!.length, 1)
    assert.ok(text.length < 60_000)
    changes.close()
    await reading
    assert.equal(await slow.next(), null)
    assert.equal(house.watchers, 0)
  })

  test('a browser that does not read makes nothing be written', async () => {
    const tested = await testedWeb({ lookMs: 1 })
    try {
      const browser = await tested.signedIn('operate')
      const socket = connect(tested.port, '127.0.0.1')
      socket.write(
        `GET /api/events HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: ${tested.web.cookie}=${browser.cookie}\r\n\r\n`,
      )
      await once(socket, 'readable')
      socket.pause()
      const looks = tested.house.looks
      // A state is 20 kB, so these would be 14 MB.
      while (tested.house.looks < looks + 700) {
        tested.house.poke('now')
        await sleep(0)
      }
      let bytes = 0
      let tail = ''
      socket.on('data', (data) => {
        bytes += data.length
        tail = (tail + data).slice(-100_000)
      })
      socket.resume()
      const marker = await browser.post('/api/act', { do: 'verify', host: 'north', archive: '0-0-13' })
      assert.equal(marker.status, 200)
      await until(() => tail.includes(marker.json.id))
      assert.ok(bytes < 8 * 2 ** 20, `${bytes} bytes were kept by the kernel, and none by us`)
      socket.destroy()
      await until(() => tested.web.readers === 0)
      assert.equal(tested.house.watchers, 0, 'nobody looks at the house when nobody reads')
    } finally {
      await tested.close()
    }
  })

  test('are limited for each session, and end with it', async () => {
    const tested = await testedWeb({ beatMs: 50 })
    try {
      const browser = await tested.signedIn('look')
      const streams = []
      for (let i = 0; i < 6; i++) streams.push(await browser.open('GET', '/api/events'))
      const { status, headers } = await browser.get('/api/events')
      assert.deepEqual([status, headers['retry-after']], [429, '30'])
      streams[0].destroy()
      await until(() => tested.web.readers === 5)
      const more = await browser.open('GET', '/api/events')
      assert.equal(more.statusCode, 200)
      const ended = once(more.resume(), 'end')
      await browser.post('/api/sign-out', {})
      await ended
      await until(() => tested.web.readers === 0)
    } finally {
      await tested.close()
    }
  })

  test('end when the account is removed elsewhere, with the next beat', async () => {
    const tested = await testedWeb({ beatMs: 50 })
    try {
      await tested.accounts.add('alice', 'a long password', 'look')
      const browser = tested.browser()
      await browser.signIn('/api/sign-in', { name: 'alice', password: 'a long password' })
      const stream = await browser.open('GET', '/api/events')
      let text = ''
      stream.on('data', (data) => {
        text += data
      })
      await until(() => text.includes(': beat'))
      const ended = once(stream, 'end')
      await tested.accounts.remove('alice')
      await ended
    } finally {
      await tested.close()
    }
  })

  test('end at once when the page is closed, as do downloads', async () => {
    const tested = await testedWeb({ house: { downloadSize: 2 ** 40 } })
    const browser = await tested.signedIn('operate')
    const stream = await browser.open('GET', '/api/events')
    const download = await browser.open('GET', DOWNLOAD)
    const cut = new Promise((resolve) => download.on('error', resolve).resume())
    const ends = [once(stream.resume(), 'end'), cut]
    await tested.close()
    await Promise.all(ends)
    assert.equal(tested.house.downloads[0].ended, true)
  })
})

describe('a download', () => {
  test('is read at the pace of the browser, and its source ends when the browser goes away', async () => {
    const tested = await testedWeb({ house: { downloadSize: 2 ** 40 } })
    try {
      const browser = await tested.signedIn('operate')
      const answer = await browser.open('GET', DOWNLOAD)
      assert.equal(answer.headers['content-length'], String(2 ** 40))
      const [about] = tested.house.downloads
      await once(answer, 'readable')
      // It stalls: what is pulled fills the sockets, and no more.
      let before = -1
      while (before !== about.pulled) {
        before = about.pulled
        await sleep(300)
      }
      assert.ok(about.pulled < 16 * 2 ** 20, `${about.pulled} bytes were pulled while nobody read`)
      let read = 0
      answer.on('data', (data) => {
        read += data.length
        if (read > 32 * 2 ** 20) answer.pause()
      })
      await until(() => answer.isPaused() && about.pulled > 32 * 2 ** 20)
      assert.ok(about.pulled - read < 16 * 2 ** 20, `${about.pulled - read} bytes ahead of the reader`)
      answer.destroy()
      await until(() => about.ended)
      const { pulled } = about
      await sleep(200)
      assert.equal(about.pulled, pulled, 'nothing more is pulled')
      await until(() => tested.warnings.length === 0)
      const [row] = await tested.audit.read()
      assert.deepEqual([row.what, row.outcome], ['download', 'failed'])
      assert.match(row.detail, /ended after \d+ bytes/)
    } finally {
      await tested.close()
    }
  })

  test('ends when its account is removed, or may no more, though its browser asks for nothing else', async () => {
    for (const change of ['remove', 'role'] as const) {
      const tested = await testedWeb({ house: { downloadSize: 2 ** 40 } })
      try {
        await tested.accounts.add('alice', 'a long password', 'operate')
        const browser = tested.browser()
        await browser.signIn('/api/sign-in', { name: 'alice', password: 'a long password' })
        const answer = await browser.open('GET', DOWNLOAD)
        const cut = new Promise((resolve) => answer.on('error', resolve).resume())
        if (change === 'remove') await tested.accounts.remove('alice')
        else await tested.accounts.change('alice', { role: 'look' })
        assert.match(String(await cut), /aborted|ECONNRESET/)
        await until(() => tested.house.downloads[0].ended)
      } finally {
        await tested.close()
      }
    }
  })

  test('that fails is cut, so that no browser takes half of it for the whole', async () => {
    for (const [downloadSize, after] of [
      [2 ** 40, 50],
      [null, 50],
      [2 ** 40, 0],
    ] as const) {
      const tested = await testedWeb({ house: { downloadSize } })
      try {
        const made = tested.house.download.bind(tested.house)
        tested.house.download = async (asked, signal) => {
          const download = await made(asked, signal)
          const fail = () => download.content.destroy(new Error('the archive is damaged at byte 7'))
          // Also while the audit log is written, before anybody reads.
          if (after > 0) setTimeout(fail, after)
          else process.nextTick(fail)
          return download
        }
        const browser = await tested.signedIn('operate')
        const opened = await browser.open('GET', DOWNLOAD).catch((error: Error) => error)
        let text = ''
        const error =
          opened instanceof Error
            ? opened
            : await new Promise<Error | null>((resolve) =>
                opened
                  .on('data', (data) => {
                    text = String(data)
                  })
                  .on('error', resolve)
                  .on('end', () => resolve(null)),
              )
        assert.match(String(error), /aborted|ECONNRESET|socket hang up/)
        assert.ok(!text.includes('damaged'))
      } finally {
        await tested.close()
      }
    }
  })

  test('is whole, and four run at once of one session', async () => {
    const tested = await testedWeb({ house: { downloadSize: 40 * 2 ** 20 } })
    try {
      const browser = await tested.signedIn('operate')
      const open = []
      for (let i = 0; i < 4; i++) open.push(await browser.open('GET', DOWNLOAD))
      assert.equal((await browser.get(DOWNLOAD)).status, 429)
      for (const answer of open) {
        let bytes = 0
        for await (const piece of answer) bytes += piece.length
        assert.equal(bytes, 40 * 2 ** 20)
      }
      await until(() => tested.house.downloads.length === 4)
      assert.equal((await browser.get(DOWNLOAD)).body.length, 40 * 2 ** 20)
      assert.equal((await tested.audit.read()).filter(({ outcome }) => outcome === 'failed').length, 0)
    } finally {
      await tested.close()
    }
  })

  test('of what is not there is an error, and takes no place', async () => {
    const tested = await testedWeb()
    try {
      const browser = await tested.signedIn('operate')
      for (let i = 0; i < 6; i++) {
        const { status, json } = await browser.get('/api/download?host=north&archive=none&drive=x')
        assert.deepEqual([status, json.error.code], [400, 'USAGE'])
      }
      assert.equal((await browser.get(DOWNLOAD)).status, 200)
    } finally {
      await tested.close()
    }
  })
})

describe('the files of the page', () => {
  const text = 'const a = 1\n'.repeat(1000)
  const page = new Map([
    ['/index.html', { type: 'text/html; charset=utf-8', body: Buffer.from('<!doctype html><title>x</title>') }],
    ['/assets/page-1a2b3c4d.js', { type: 'text/javascript', body: Buffer.from(text), immutable: true }],
    ['/assets/p.png', { type: 'image/png', body: Buffer.alloc(5000, 1) }],
  ])

  test('are compressed once, have tags, and those with a hash are kept', async () => {
    const tested = await testedWeb({ page })
    try {
      const browser = tested.browser()
      const js = '/assets/page-1a2b3c4d.js'
      const br = await browser.get(js, { 'accept-encoding': 'gzip, br' })
      assert.equal(br.headers['content-encoding'], 'br')
      assert.equal(brotliDecompressSync(br.body).toString(), text)
      assert.match(br.headers['cache-control'] as string, /immutable/)
      assert.equal(br.headers.vary, 'accept-encoding')
      const gzip = await browser.get(js, { 'accept-encoding': 'gzip;q=1, br;q=0' })
      assert.equal(gunzipSync(gzip.body).toString(), text)
      assert.notEqual(gzip.headers.etag, br.headers.etag)
      const plain = await browser.get(js)
      assert.deepEqual([plain.headers['content-encoding'], plain.text], [undefined, text])
      const known = await browser.get(js, { 'accept-encoding': 'br', 'if-none-match': `W/"x", ${br.headers.etag}` })
      assert.deepEqual([known.status, known.body.length], [304, 0])
      assert.equal(
        (await browser.get('/assets/p.png', { 'accept-encoding': 'br' })).headers['content-encoding'],
        undefined,
      )
      assert.match((await browser.get('/')).headers['cache-control'] as string, /no-cache/)
      for (const path of [
        '/assets/none.js',
        '/../package.json',
        '/%2e%2e/package.json',
        '/.git/config',
        '/index.html.map',
      ])
        assert.equal((await browser.get(path)).status, 404, path)
      assert.equal((await browser.ask('POST', '/', { body: '{}' })).status, 405)
    } finally {
      await tested.close()
    }
  })
})
