import assert from 'node:assert/strict'
import { chmodSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { VmapipeError } from '../../../src/core/errors.ts'
import { jobSchemaText } from '../../../src/jobs/file/json-schema.ts'
import { loadJob, pathIn, readJob } from '../../../src/jobs/file/load.ts'
import { tmpDir } from '../../support/tmp.ts'

const NIGHTLY = `
guests:
  - libvirt: "*"
    exclude: [test-*]
  - qmp: /run/vms/*.qmp
  - attach: /run/vmapipe/*.ctl
    max-stall: 500ms
  - proxmox: [100-199, 300]
  - drives: { drive-scsi0: /srv/disk.raw }
    name: files
to:
  - place: /srv/backup
    keep: { last: 3, daily: 7, weekly: 4, monthly: 12, yearly: 2 }
  - place: s3://offsite/vms
    recipients: [age1zzz]
    required: false
schedule: Mon..Sat 01:30
full: weekly
compress: zstd:3
limits: { parallel: 2, per-place: 1, rate: 200MiB, window: "22:00-06:00", max-stall: 2s }
check: { verify: after, boot: weekly }
hooks: { before: "logger begins", after: [logger, done], failed: "logger failed" }
notify:
  - mail: root
  - webhook: https://ntfy.example/vms
    template: ntfy
  - ping: https://hc.example/1
    on: always
`

describe('a job file', () => {
  test('is read with its times in milliseconds and its sizes in bytes', () => {
    const job = readJob('/etc/vmapipe/jobs/nightly.yaml', NIGHTLY)
    assert.equal(job.name, 'nightly')
    assert.deepEqual(job.guests[0].libvirt, ['*'])
    assert.equal(job.guests[2]['max-stall'], 500)
    assert.deepEqual(job.guests[3].proxmox, ['100-199', 300])
    assert.deepEqual(job.schedule, ['Mon..Sat 01:30'])
    assert.deepEqual(job.full, { kind: 'calendar', unit: 'week' })
    assert.equal(job.limits?.rate, 200 << 20)
    assert.deepEqual(job.limits?.window, { from: 22 * 60, to: 6 * 60 })
    assert.equal(job.to[1].required, false)
  })

  test('a place may be written alone, without a list', () => {
    const job = readJob('j.yaml', 'guests: [{libvirt: web}]\nto: /srv/backup\n')
    assert.deepEqual(job.to, [{ place: '/srv/backup' }])
  })

  test('JSON is read too', () => {
    assert.equal(readJob('j.json', '{"guests":[{"qmp":"/run/a.qmp"}],"to":["/srv"]}').name, 'j')
  })

  const wrong: [what: string, from: string, to: string, message: RegExp][] = [
    [
      'a key that is not known',
      'required: false',
      'require: false',
      /^j\.yaml:16:5: to\[1\]: there is no option 'require'$/,
    ],
    [
      'a key of a notification',
      'template: ntfy',
      'tmplate: ntfy',
      /^j\.yaml:\d+:\d+: notify\[1\]: there is no option 'tmplate'$/,
    ],
    [
      'a notification of no kind',
      'ping: https',
      'pong: https',
      /notify\[2\]: expected a map with mail, webhook or ping$/,
    ],
    ['a rhythm', 'full: weekly', 'full: weakly', /full: expected always, never, daily, weekly.*, got "weakly"$/],
    [
      'two kinds of guests',
      '  - libvirt: "*"',
      '  - libvirt: "*"\n    qmp: /x',
      /guests\[0\]: libvirt and qmp are two kinds/,
    ],
    ['an entry without guests', '  - libvirt: "*"', '  - name: x', /guests\[0\]: expected one of libvirt, qmp/],
    ['drives at rest without a name', '    name: files\n', '', /guests\[4\]: a guest of drives at rest needs a name$/],
    ['a place that is no folder', 'place: /srv/backup', "place: 'exec:cat'", /to\[0\]: 'exec:cat' is no folder$/],
    ['a place of another tool', 'place: /srv/backup', 'place: nas:/srv', /to\[0\]: 'nas:\/srv\/guest.*could be a host/],
    ['a place twice', 's3://offsite/vms', '/srv/backup/', /'\/srv\/backup\/' is there twice$/],
    [
      'no required place',
      '  - place: /srv/backup\n',
      '  - place: /srv/backup\n    required: false\n',
      /to: no place is required$/,
    ],
    ['a time of the day', '22:00-06', '25:00-06', /limits\.window: expected a part of the day/],
    ['an empty window', '22:00-06:00', '06:00-06:00', /limits\.window: it begins and ends at the same time$/],
    ['a compression', 'zstd:3', 'zip', /compress: 'zip' is not a compression$/],
    [
      'nothing that is kept',
      '{ last: 3, daily: 7, weekly: 4, monthly: 12, yearly: 2 }',
      '{ last: 0 }',
      /nothing would be kept$/,
    ],
    ['a time span that is none', '{ last: 3,', '{ within: 2 weeks, last: 3,', /'2 weeks' is no time span$/],
    [
      'incremental archives without checksums',
      'name: files',
      'name: files\n    checksums: false',
      /guests\[4\]: an incremental archive must have checksums/,
    ],
    [
      'a lock of a place that is no store',
      'place: /srv/backup',
      'place: /srv/backup\n    retain-for: 30d',
      /retain-for is for archives in a store/,
    ],
  ]
  for (const [what, from, to, message] of wrong) {
    test(`is refused with file, line and column: ${what}`, () => {
      assert.ok(NIGHTLY.includes(from))
      assert.throws(
        () => readJob('j.yaml', NIGHTLY.replace(from, to)),
        (error) =>
          error instanceof VmapipeError &&
          error.code === 'CONFIG' &&
          message.test(error.message) &&
          /^j\.yaml:\d+:\d+: /.test(error.message),
        what,
      )
    })
  }

  test('a name that would leave the folder of the state is refused', () => {
    assert.throws(() => readJob('/etc/..yaml', NIGHTLY), /cannot be the name of a job/)
    assert.throws(() => readJob('/etc/a b.yaml', NIGHTLY), /cannot be the name of a job/)
  })

  test('one that others may write to is refused, as it names commands', async (t) => {
    const file = join(tmpDir(t), 'nightly.yaml')
    writeFileSync(file, NIGHTLY)
    assert.equal((await loadJob(file)).file, file)
    chmodSync(file, 0o666)
    await assert.rejects(loadJob(file), { code: 'CONFIG', message: /cannot be trusted: others may write to/ })
  })

  test('one that is not there is told as one line', async (t) => {
    await assert.rejects(loadJob(join(tmpDir(t), 'none.yaml')), { code: 'CONFIG', message: /no such file/ })
  })

  test('paths in it count from its folder', () => {
    assert.equal(pathIn({ file: '/etc/vmapipe/n.yaml' }, 'my.yaml'), '/etc/vmapipe/my.yaml')
    assert.equal(pathIn({ file: '/etc/vmapipe/n.yaml' }, '/my.yaml'), '/my.yaml')
  })

  test('the committed JSON Schema is that of the fields as they are (npm run schema writes it)', () => {
    const committed = new URL('../../../pipelines/job.schema.json', import.meta.url)
    assert.equal(readFileSync(committed, 'utf8'), jobSchemaText())
  })
})
