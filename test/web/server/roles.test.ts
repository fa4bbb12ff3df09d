import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Role } from '../../../src/web/house.ts'
import { ROUTES } from '../../../src/web/server/app.ts'
import { ACTION_NEEDS } from '../../../src/web/server/roles.ts'
import { testedWeb } from '../../support/web.ts'

const ROLES: Role[] = ['look', 'operate', 'administer']

/** What each route is asked, so that it answers 200 to those who may. A route that is not here fails the test. */
const ASKED: Record<string, { query?: string; body?: unknown }> = {
  'GET /api/session': {},
  'POST /api/sign-in': { body: { name: 'alice', password: 'a long password' } },
  'POST /api/link': { body: { token: 'LINK' } },
  'POST /api/sign-out': { body: {} },
  'POST /api/password': { body: { old: 'a long password', new: 'another long password' } },
  'GET /api/now': {},
  'GET /api/guests': {},
  'GET /api/jobs': {},
  'GET /api/guest': { query: 'host=h&guest=g' },
  'GET /api/hosts': {},
  'GET /api/archives': {},
  'GET /api/content': { query: 'host=north&archive=0-0-13' },
  'GET /api/runs': { query: 'since=2020-01-01T00:00:00Z' },
  'GET /api/run-days': { query: 'since=2020-01-01T00:00:00Z&zone=Europe/Berlin' },
  'GET /api/report': { query: 'host=north&job=nightly&run=x' },
  'GET /api/events': {},
  'GET /api/picture': { query: 'host=north&archive=0-0-13' },
  'GET /api/files': { query: 'host=north&archive=0-0-13' },
  'GET /api/download': { query: 'host=north&archive=0-0-13&drive=drive-scsi0' },
  'GET /api/prune-plan': { query: 'host=north&job=nightly' },
  'POST /api/restore-command': { body: { host: 'north', archive: '0-0-13', drives: { 'drive-scsi0': '/srv/x.raw' } } },
  'POST /api/act': { body: { do: 'verify', host: 'north', archive: '0-0-13' } },
  'GET /api/sessions': {},
  'POST /api/sessions/end': { body: { id: 'OWN' } },
  'GET /api/accounts': {},
  'POST /api/accounts/add': { body: { name: 'bob', password: 'a long password', role: 'look' } },
  'POST /api/accounts/change': { body: { name: 'carol', role: 'operate' } },
  'POST /api/accounts/remove': { body: { name: 'carol' } },
  'POST /api/links': { body: { role: 'look' } },
  'GET /api/audit': {},
}

/** What each route needs, written down once more: a change of a role is a change here. */
const NEEDS: Record<'open' | Role, string[]> = {
  open: ['GET /api/session', 'POST /api/sign-in', 'POST /api/link'],
  look: [
    ...[
      'POST /api/sign-out',
      'POST /api/password',
      'GET /api/now',
      'GET /api/guests',
      'GET /api/jobs',
      'GET /api/guest',
      'GET /api/hosts',
    ],
    ...[
      'GET /api/archives',
      'GET /api/content',
      'GET /api/runs',
      'GET /api/run-days',
      'GET /api/report',
      'GET /api/events',
      'GET /api/picture',
    ],
    ...['GET /api/sessions', 'POST /api/sessions/end'],
  ],
  operate: [
    ...['GET /api/files', 'GET /api/download', 'GET /api/prune-plan', 'POST /api/restore-command', 'POST /api/act'],
  ],
  administer: [
    ...['GET /api/accounts', 'POST /api/accounts/add', 'POST /api/accounts/remove', 'POST /api/accounts/change'],
    ...['POST /api/links', 'GET /api/audit'],
  ],
}

describe('routes and roles', () => {
  test('every route of the app is a declared one, and needs what is written here', async () => {
    const tested = await testedWeb()
    try {
      const served = tested.web.app.routes
        .filter(({ method, path }) => method !== 'ALL' && path.startsWith('/api'))
        .map(({ method, path }) => `${method} ${path}`)
      const declared = ROUTES.map(({ method, path }) => `${method} ${path}`)
      assert.deepEqual(served.toSorted(), declared.toSorted())
      assert.deepEqual(declared.toSorted(), Object.values(NEEDS).flat().toSorted())
      assert.deepEqual(declared.toSorted(), Object.keys(ASKED).toSorted())
      for (const { method, path, need } of ROUTES)
        assert.ok(NEEDS[need].includes(`${method} ${path}`), `${method} ${path} needs ${need}`)
      for (const { path, beginsSession } of ROUTES)
        assert.equal(beginsSession ?? false, ['/api/sign-in', '/api/link'].includes(path))
    } finally {
      await tested.close()
    }
  })

  for (const role of ['nobody', ...ROLES] as const)
    test(`what ${role} may do, and may not`, async () => {
      for (const { method, path, need } of ROUTES) {
        const tested = await testedWeb({ house: { downloadSize: 10 } })
        try {
          await tested.accounts.add('alice', 'a long password', role === 'nobody' ? 'look' : role)
          await tested.accounts.add('carol', 'a long password', 'look')
          const browser = tested.browser()
          if (role !== 'nobody') await browser.signIn('/api/sign-in', { name: 'alice', password: 'a long password' })
          const { query, body } = ASKED[`${method} ${path}`]
          const isStream = path === '/api/events'
          const sent = JSON.stringify(body)
            ?.replace('LINK', (await tested.links.make('look')).token)
            .replace('OWN', tested.web.sessions.list()[0]?.id ?? 'none')
          const answer = await browser.open(method, `${path}${query ? `?${query}` : ''}`, {
            ...(sent && { body: sent }),
          })
          if (isStream) answer.destroy()
          else answer.resume()
          const mayNot = role === 'nobody' ? (need === 'open' ? 200 : 401) : 403
          const may = role !== 'nobody' && (need === 'open' || ROLES.indexOf(role) >= ROLES.indexOf(need))
          assert.equal(answer.statusCode, may ? 200 : mayNot, `${role}: ${method} ${path}`)
          if (!may && need !== 'open') assert.deepEqual(tested.house.asked, [], 'the house was not asked')
        } finally {
          await tested.close()
        }
      }
    })

  test('an action may need more than its route', async () => {
    const tested = await testedWeb()
    try {
      const actions: Record<string, object> = {
        start: { host: 'north', job: 'nightly' },
        cancel: { id: 'north-1' },
        verify: { host: 'north', archive: '0-0-13' },
        boot: { host: 'north', archive: '0-0-13' },
        protect: { host: 'north', archive: '0-0-13', on: true },
        note: { host: 'north', archive: '0-0-13', text: 'x' },
        prune: { host: 'north', job: 'nightly', token: 'plan-1' },
        restore: { form: { host: 'north', archive: '0-0-13', drives: { 'drive-scsi0': '/srv/x' } } },
        drain: { host: 'north', on: true },
        rescan: {},
      }
      assert.deepEqual(Object.keys(actions), Object.keys(ACTION_NEEDS))
      const operator = await tested.signedIn('operate')
      const administrator = await tested.signedIn('administer')
      for (const [name, fields] of Object.entries(actions)) {
        const needsMore = name === 'drain' || name === 'rescan'
        assert.equal((await operator.post('/api/act', { do: name, ...fields })).status, needsMore ? 403 : 200, name)
        assert.equal((await administrator.post('/api/act', { do: name, ...fields })).status, 200, name)
      }
      assert.equal(tested.house.asked.length, 18)
      assert.equal(tested.house.asked[0].by, operator.session!.user)
    } finally {
      await tested.close()
    }
  })

  test('what the house cannot do is refused, with what is to be done instead', async () => {
    const tested = await testedWeb({ house: { without: ['restore', 'prune'], download: false } })
    try {
      const browser = await tested.signedIn('administer')
      const form = { host: 'south', archive: '1-0-13', drives: {} }
      const answers = [
        await browser.post('/api/act', { do: 'prune', host: 'south', job: 'nightly', token: 'plan-1' }),
        await browser.post('/api/act', { do: 'restore', form }),
        await browser.get('/api/download?host=south&archive=1-0-13&drive=x'),
        await browser.get('/api/files?host=south&archive=1-0-13'),
        await browser.get('/api/prune-plan?host=south&job=nightly'),
      ]
      for (const { status, json } of answers) {
        assert.equal(status, 400)
        assert.match(json.error.hint, /^run on .*: vmapipe/)
      }
      assert.equal(answers[0].json.error.hint, 'run on south: vmapipe prune')
      assert.deepEqual(tested.house.asked, [])
    } finally {
      await tested.close()
    }
  })

  test('nonsense is refused in one line, before the house sees it', async () => {
    const tested = await testedWeb()
    try {
      const browser = await tested.signedIn('administer')
      for (const body of [
        '{',
        'null',
        '[]',
        '{"do":"format-disk"}',
        '{"do":"cancel"}',
        '{"do":"cancel","id":"x","extra":1}',
        '{"do":"start","host":"north","job":["a"]}',
        '{"do":"protect","host":"north","archive":"x","on":"yes"}',
        '{"do":"restore","form":{"host":"north","archive":"x","drives":{"a":"b"},"hooks":"rm"}}',
        `{"do":"note","host":"north","archive":"x","text":"${'x'.repeat(10_001)}"}`,
      ]) {
        const { status, json } = await browser.ask('POST', '/api/act', { body })
        assert.equal(status, 400, body.slice(0, 60))
        assert.match(json.error.message, /^[^\n]+$/)
      }
      for (const query of ['host=a&host=b', 'archive=x', 'host=a&archive=b&more=c', ''])
        assert.equal((await browser.get(`/api/content?${query}`)).status, 400, query)
      assert.equal((await browser.get('/api/download?host=north&archive=0-0-13')).status, 400, 'neither drive nor file')
      assert.equal((await browser.get('/api/download?host=north&archive=0-0-13&drive=a&file=b')).status, 400, 'both')
      const large = await browser.ask('POST', '/api/act', { body: `"${'x'.repeat(2 ** 20)}"` })
      assert.equal(large.status, 413)
      const chunked = { body: `"${'x'.repeat(2 ** 20)}"`, headers: { 'transfer-encoding': 'chunked' } }
      assert.equal((await browser.ask('POST', '/api/act', chunked)).status, 413, 'of no length that is told')
      const stranger = await tested.browser().post('/api/link', { token: 'x'.repeat(20_000) })
      assert.equal(stranger.status, 413, 'a stranger may send less')
      assert.deepEqual(tested.house.asked, [])
      assert.deepEqual(tested.warnings, [])
    } finally {
      await tested.close()
    }
  })
})
