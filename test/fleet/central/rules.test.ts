import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { refuseUnlessAllowed } from '../../../src/fleet/central/allowed.ts'
import { CENTRAL_FIELDS } from '../../../src/fleet/central/fields.ts'
import { checkCentralJob } from '../../../src/fleet/central/rules.ts'
import { jobJsonSchema } from '../../../src/jobs/file/json-schema.ts'
import { readJob } from '../../../src/jobs/file/load.ts'

const GOOD = `hosts: [rack-2, zone=berlin]
guests:
  - libvirt: "*"
    exclude: [test-*]
  - proxmox: [100-199]
to:
  - { place: /srv/backup, keep: { last: 3 }, storage: nas1, parallel: 2 }
  - { place: s3://offsite/vms, recipients: [age1${'q'.repeat(58)}], required: false, retain-for: 30d }
schedule: Mon..Sat 01:30
promise: 50h
full: weekly
compress: zstd:3
limits: { parallel: 2, per-place: 1, rate: 200MiB, window: "22:00-06:00", at-end: slow }
retry: { count: 2, delay: 5m }
check: { verify: after, boot: weekly, sample: 5% }
`

test('a central job is a job file with the labels of its hosts', () => {
  const { job, hosts } = checkCentralJob('nightly', GOOD)
  assert.deepEqual(hosts, ['rack-2', 'zone=berlin'])
  assert.deepEqual([job.name, job.to.length, job.guests.length], ['nightly', 2, 2])
  assert.deepEqual(checkCentralJob('n', 'hosts: all\nguests: [{ libvirt: a }]\nto: /srv/b\n').hosts, ['all'])
})

describe('nothing of it is run, and it names no file of a host:', () => {
  const base = (more: string, { guest = 'libvirt: "*"', to = '/srv/backup' } = {}) =>
    `hosts: [all]\nguests:\n  - ${guest}\nto:\n  - ${to}\n${more}`
  const guest = (more: string) => base('', { guest: `{ libvirt: "*", ${more} }` })
  const place = (more: string) => base('', { to: `{ place: /srv/backup, ${more} }` })
  const at = (to: string) => base('', { to: JSON.stringify(to) })

  // Each field of a job file that is run, that reaches a shell, that is opened as a path or connected to.
  const REFUSED: Record<string, string> = {
    'a hook as a shell line': base('hooks: { before: "touch /tmp/x" }'),
    'a hook as a list': base('hooks: { end: [touch, /tmp/x] }'),
    'a pipeline': base('pipeline: /tmp/evil.yaml'),
    'the parameters of one': base('set: { A: b }'),
    'a pipeline of a guest': guest('pipeline: /tmp/evil.yaml'),
    'parameters of a guest': guest('set: { A: b }'),
    'a unit': base('unit: { user: root, environment: { LD_PRELOAD: /tmp/x.so } }'),
    'mail and webhooks': base('notify: [{ mail: root }]'),
    'a folder for metrics': base('metrics: /etc/cron.d'),
    'an identity': base('identity: [/root/key]'),
    'config files': base('configs: [/etc/shadow]'),
    'config files of a guest': guest('configs: { a: /etc/shadow }'),
    "a guest agent's socket": base('agent: /run/x.sock'),
    "a guest agent's socket of one guest": guest('agent: /run/x.sock'),
    'a folder of sockets': base('socket-dir: /tmp'),
    'a folder of sockets of one guest': guest('socket-dir: /tmp'),
    'drives at rest': base('', { guest: '{ name: shadow, drives: { a: /etc/shadow } }' }),
    'drives of a guest from elsewhere': guest('drives: { a: /etc/shadow }'),
    'a libvirt that runs a program': base('connect: "qemu+ext:///system?command=/tmp/x"'),
    'a libvirt by ssh with a key': guest('connect: "qemu+libssh://host/system?keyfile=/root/.ssh/id"'),
    'a libvirt by a socket': guest('connect: "qemu+unix:///system?socket=/tmp/x"'),
    'a name of a domain that is an option': base('', { guest: '{ libvirt: "--connect=x" }' }),
    'a name of a guest that is an option': base('', { guest: '{ libvirt: "a", name: "-x" }' }),
    'a name of a drive that is an option': guest('exclude-drives: ["-x"]'),
    'a name of a drive that is an option, for all': base('exclude-drives: ["-x"]'),
    'a monitor by a relative path': base('', { guest: '{ qmp: "run/*.qmp" }' }),
    'a monitor by a path that leads elsewhere': base('', { guest: '{ qmp: "/run/vms/../../tmp/*.qmp" }' }),
    'a control socket by a path that leads elsewhere': base('', { guest: '{ attach: "/run/./x.ctl" }' }),
    'recipients in files of the only place': base('').replace(
      '\n  - /srv/backup',
      ' { place: /srv/backup, recipients-files: [/root/keys] }',
    ),
    'sockets by alternatives, which lead elsewhere': base('', { guest: '{ qmp: "/run/vms/{..,x}/{..,x}/tmp/*.qmp" }' }),
    'names by billions of alternatives': base('', { guest: `{ libvirt: "${'{a,b}'.repeat(40)}" }` }),
    'names by a range of alternatives': guest('exclude: ["{1..100000000}"]'),
    'names that take hours to compare': guest(`exclude: ["${'*a'.repeat(20)}"]`),
    'names by a nested pattern': base('', { guest: '{ libvirt: "+(+(a))" }' }),
    'recipients in files': place('recipients-files: [/root/keys]'),
    'recipients that are no public keys': place('recipients: [ssh-ed25519-or-a-plugin]'),
    'a place that is a command': at('exec:cat >/tmp/x'),
    'a place that is a pipe': at('-'),
    'a place by a relative path': at('backup'),
    'a place that leads elsewhere': at('/srv/backup/../../etc'),
    'a place by ssh that leads elsewhere': at('ssh://nas/srv/%2e%2e/%2E%2E/etc'),
    'a place by ssh that is an option': at('ssh://-oProxyCommand=x/srv'),
    'a user of ssh that is an option': at('ssh://-oProxyCommand=x@nas/srv'),
    'a place with a newline': at('/srv/a\nb'),
    'labels that are none': base('').replace('[all]', '["$(touch x)"]'),
    'no labels': base('').replace('hosts: [all]\n', ''),
  }
  for (const [what, text] of Object.entries(REFUSED)) {
    test(what, () => {
      assert.throws(() => checkCentralJob('nightly', text), {
        code: 'CONFIG',
        message: /^nightly\.yaml:\d+:\d+: /,
      })
    })
  }

  test('and what is refused is named, with its line', () => {
    assert.throws(() => checkCentralJob('nightly', base('hooks: { before: x }')), {
      message: "nightly.yaml:6:1: a central job cannot have 'hooks'",
    })
  })

  test('a name of a job is no path', () => {
    for (const name of ['../x', 'a/b', '', '.x', 'a\0b'])
      assert.throws(() => checkCentralJob(name, base('')), { code: 'CONFIG' }, name)
  })

  test('a key that job files have is either allowed, or refused by its name', () => {
    type Schema = { properties?: Record<string, unknown>; items?: Schema; anyOf?: Schema[] }
    const schema = jobJsonSchema() as unknown as { properties: Record<string, Schema> }
    const keysIn = ({ properties = {}, items, anyOf = [] }: Schema): string[] => [
      ...Object.keys(properties),
      ...[items, ...anyOf].flatMap((inner) => (inner === undefined ? [] : keysIn(inner))),
    ]
    const refused = {
      top: ['agent', 'configs', 'hooks', 'identity', 'metrics', 'notify', 'pipeline', 'set', 'socket-dir', 'unit'],
      guest: ['agent', 'configs', 'pipeline', 'set', 'socket-dir'],
      place: ['recipients-files'],
    }
    const keep = ['last', 'hourly', 'daily', 'weekly', 'monthly', 'yearly', 'within']
    const all = {
      top: Object.keys(schema.properties),
      guest: Object.keys((schema.properties.guests.items as Schema).properties!),
      place: [...new Set(keysIn(schema.properties.to))].filter((key) => !keep.includes(key)),
    }
    for (const part of ['top', 'guest', 'place'] as const) {
      const allowed: readonly string[] = CENTRAL_FIELDS[part]
      assert.deepEqual(all[part].filter((key) => !allowed.includes(key)).sort(), refused[part], part)
    }
  })
})

describe('a host lets central jobs do', () => {
  const own = readJob(
    '/etc/vmapipe/jobs/own.yaml',
    `guests: [{ qmp: /run/vms/*.qmp }]\nto: [/srv/own/, { place: /srv/sealed, recipients: [age1${'a'.repeat(58)}] }, { place: /srv/files, recipients-files: [keys] }, { place: /srv/kept/, keep: { daily: 7, weekly: 4 } }, /srv/more/own]\n`,
  )
  const allowed = { own: [own], places: ['/srv/more', 's3://offsite/vms'], sockets: ['/run/guests'] }
  const job = (to: string, guest = 'libvirt: "*"') =>
    checkCentralJob('nightly', `hosts: [all]\nguests: [{ ${guest} }]\nto: [${to}]\n`).job
  const isRefused = (to: string, guest?: string) => {
    try {
      refuseUnlessAllowed(job(to, guest), allowed)
      return false
    } catch (error) {
      assert.equal((error as { code: string }).code, 'CONFIG')
      return true
    }
  }
  test('write to the places of its own jobs, and to those that it names', () => {
    for (const place of ['/srv/own', '/srv/own/', '/srv/more', '/srv/more/deep', 's3://offsite/vms/a'])
      assert.equal(isRefused(place), false, place)
    for (const place of [
      '/srv',
      '/srv/other',
      '/srv/own/deep',
      '/srv/moreover',
      's3://offsite/vms2',
      'ssh://evil/srv/own',
    ])
      assert.equal(isRefused(place), true, place)
  })

  test('no plain archives where its own are encrypted, and none that only others can read', () => {
    assert.equal(isRefused('/srv/sealed'), true)
    assert.equal(isRefused(`{ place: /srv/sealed, recipients: [age1${'a'.repeat(58)}] }`), false)
    assert.equal(isRefused(`{ place: /srv/sealed, recipients: [age1${'e'.repeat(58)}] }`), true)
    // Also where the host's own are plain, or their keys are in files.
    const stranger = `recipients: [age1${'e'.repeat(58)}]`
    for (const place of ['/srv/own', '/srv/own/', '/srv/files'])
      assert.equal(isRefused(`{ place: ${place}, ${stranger} }`), true, place)
    assert.equal(isRefused('/srv/files'), true)
    assert.equal(isRefused(`{ place: /srv/more, ${stranger} }`), false)
  })

  test('remove no archives of its own jobs but by their rules', () => {
    for (const place of ['/srv/kept', '/srv/kept/', '/srv/own', '/srv/sealed']) {
      const recipients = place === '/srv/sealed' ? `recipients: [age1${'a'.repeat(58)}], ` : ''
      assert.equal(isRefused(`{ place: ${place}, ${recipients}keep: { last: 1 } }`), true, place)
      assert.equal(isRefused(`{ place: ${place}, ${recipients}keep: { daily: 7, last: 1 } }`), true, place)
    }
    // One above a place of its own has a folder for a guest where its own jobs have theirs.
    assert.equal(isRefused('{ place: /srv/more, keep: { last: 1 } }'), true)
    assert.equal(isRefused('{ place: /srv/kept, keep: { weekly: 4, daily: 7 } }'), false)
    assert.equal(isRefused('{ place: /srv/more/deep, keep: { last: 1 } }'), false)
    assert.equal(isRefused('/srv/kept'), false)
  })

  test('look for sockets where its own jobs do, and where it says', () => {
    assert.equal(isRefused('/srv/own', 'qmp: "/run/vms/*.qmp"'), false)
    assert.equal(isRefused('/srv/own', 'qmp: "/run/guests/*/qmp.sock"'), false)
    assert.equal(isRefused('/srv/own', 'attach: "/run/*.ctl"'), true)
  })
})
