import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { readJob } from '../../../src/jobs/file/load.ts'
import { crontabLines, hasSystemd, installUnits, planUnits, uninstallUnits } from '../../../src/jobs/units/install.ts'
import { unitsOf } from '../../../src/jobs/units/units.ts'
import { tmpDir } from '../../support/tmp.ts'
import { lacking, needs } from '../../support/tools.ts'

const JOBS: Record<string, string> = {
  attached: `
guests: [{ attach: /run/vmapipe/*.ctl }]
to: /srv/backup
schedule: Mon..Sat 01:30
notify: [{ ping: "https://hc.example/1" }]
`,
  libvirt: `
guests: [{ libvirt: "*" }]
to: [{ place: /srv/my backup }, { place: s3://offsite/vms, required: false }]
schedule: ["30 1 * * 1-6", Sun 12:00]
limits: { parallel: 4 }
check: { boot: weekly }
metrics: /var/lib/prometheus/node-exporter
unit: { environment: { AWS_REGION: "eu%-\\"1\\"" }, environment-file: /etc/vmapipe/aws.env }
`,
  hooks: `
guests: [{ qmp: /run/vms/*.qmp }]
to: ssh://backup@nas/srv/vms
schedule: daily
hooks: { before: "logger begins" }
notify: [{ mail: root }]
`,
}

/** The highest exposure that systemd may measure, in tenths: what a job needs is what it costs. */
const EXPOSURE: Record<string, number> = { attached: 32, libvirt: 38, hooks: 75 }

const program = ['/bin/true', '/opt/my vmapipe/$x %i.js'] as const

for (const [name, text] of Object.entries(JOBS)) {
  const job = readJob(`/etc/vmapipe/jobs/${name}.yaml`, text)

  test(`systemd has nothing to say against the units of ${name}`, {
    timeout: 60_000,
    ...needs('systemd-analyze'),
  }, (t) => {
    const dir = tmpDir(t)
    for (const isUser of [false, true]) {
      const { service, timer } = unitsOf(job, { program, isUser })
      const files = [service, timer!].map((unit) => {
        writeFileSync(join(dir, unit.name), unit.text)
        return join(dir, unit.name)
      })
      const { status, stderr } = spawnSync('systemd-analyze', ['verify', '--man=no', ...files], { encoding: 'utf8' })
      const own = stderr.split('\n').filter((line) => line.includes('vmapipe-'))
      assert.deepEqual([status, own], [0, []], stderr)
    }
  })

  test(`the service of ${name} may do little`, { timeout: 60_000, ...needs('systemd-analyze') }, (t) => {
    const file = join(tmpDir(t), `vmapipe-${name}.service`)
    writeFileSync(file, unitsOf(job, { program, isUser: false }).service.text)
    const args = ['security', '--no-pager', '--offline=yes', `--threshold=${EXPOSURE[name]}`, file]
    const { status, stdout } = spawnSync('systemd-analyze', args, {
      encoding: 'utf8',
      env: { ...process.env, NO_COLOR: '1' },
    })
    assert.equal(status, 0, stdout.split('\n').slice(-3).join('\n'))
  })
}

test('paths and values are what they are, whatever is in them', () => {
  const job = readJob('/etc/vmapipe/jobs/libvirt.yaml', JOBS.libvirt)
  const { service, timer } = unitsOf(job, { program, isUser: false })
  assert.match(
    service.text,
    /^ExecStart=\/bin\/true "\/opt\/my vmapipe\/\$\$x %%i\.js" job run \/etc\/vmapipe\/jobs\/libvirt\.yaml$/m,
  )
  assert.match(service.text, /^Environment="AWS_REGION=eu%%-\\"1\\""$/m)
  assert.match(
    service.text,
    /^ReadWritePaths=-\/run "-\/srv\/my backup" -\/tmp -\/var\/lib\/prometheus\/node-exporter -\/var\/tmp$/m,
  )
  assert.match(service.text, /^ProtectHome=read-only$/m)
  assert.match(service.text, /^MemoryMax=5120M$/m)
  const events = [...timer!.text.matchAll(/^OnCalendar=(.*)$/gm)].map(([, event]) => event)
  assert.deepEqual(events, ['Mon,Tue,Wed,Thu,Fri,Sat *-*-* 01:30:00', 'Sun 12:00'])
  assert.match(timer!.text, /^Persistent=true$/m)
})

test('a job of guests of our own disk server gets no device, no home and no folder of the host but its place', () => {
  const { service } = unitsOf(readJob('/etc/vmapipe/jobs/attached.yaml', JOBS.attached), { program, isUser: false })
  const lines = [
    'ProtectHome=yes',
    'PrivateTmp=yes',
    'PrivateDevices=yes',
    'NoNewPrivileges=yes',
    'ReadWritePaths=-/srv/backup',
  ]
  for (const line of lines) assert.ok(service.text.split('\n').includes(line), line)
})

/** A systemctl in the PATH that notes what it is told. */
function fakeSystemctl(t: TestContext): () => string[] {
  const dir = tmpDir(t)
  writeFileSync(join(dir, 'systemctl'), `#!/bin/sh\necho "$@" >> ${dir}/told\n`)
  chmodSync(join(dir, 'systemctl'), 0o755)
  const before = process.env.PATH
  process.env.PATH = `${dir}:${before}`
  t.after(() => {
    process.env.PATH = before
  })
  return () => (existsSync(join(dir, 'told')) ? readFileSync(join(dir, 'told'), 'utf8').trim().split('\n') : [])
}

/** As on a host that systemd runs. */
function likeSystemd(t: TestContext): boolean {
  if (hasSystemd()) return true
  if (process.getuid?.() !== 0) return false
  mkdirSync('/run/systemd/system', { recursive: true })
  t.after(() => rmdirSync('/run/systemd/system'))
  return true
}

test('install writes both units, enables the timer, and uninstall takes them away', (t) => {
  return withSystemd(t, async (told) => {
    const folder = tmpDir(t)
    const job = readJob('/etc/vmapipe/jobs/attached.yaml', JOBS.attached)
    const installed = await installUnits(job, { program, folder })
    assert.deepEqual(installed, {
      kind: 'units',
      files: ['service', 'timer'].map((kind) => join(folder, `vmapipe-attached.${kind}`)),
      timer: 'vmapipe-attached.timer',
    })
    assert.deepEqual(told(), ['daemon-reload', 'enable --now vmapipe-attached.timer'])
    assert.equal(
      readFileSync(join(folder, 'vmapipe-attached.timer'), 'utf8'),
      (await planUnits(job, { program }))[1].text,
    )
    await installUnits(job, { program, folder })
    await uninstallUnits('attached', { folder })
    assert.deepEqual(readdirSync(folder), [])
    assert.deepEqual(told().slice(-2), ['disable --now vmapipe-attached.timer', 'daemon-reload'])
    await assert.rejects(uninstallUnits('attached', { folder }), { code: 'USAGE', message: /is not installed/ })
  })
})

test('a unit of somebody else stays, and a schedule that systemd does not know is told before anything is written', (t) => {
  return withSystemd(t, async () => {
    const folder = tmpDir(t)
    const job = readJob('/etc/vmapipe/jobs/attached.yaml', JOBS.attached)
    writeFileSync(join(folder, 'vmapipe-attached.service'), '[Service]\nExecStart=/bin/mine\n')
    await assert.rejects(installUnits(job, { program, folder }), {
      code: 'USAGE',
      message: /was not written by vmapipe/,
    })
    assert.deepEqual(readdirSync(folder), ['vmapipe-attached.service'])
    const wrong = { ...job, schedule: ['Mon..Fry 01:30'] }
    await assert.rejects(installUnits(wrong, { program, folder: join(folder, 'new') }), {
      code: 'CONFIG',
      message: /no schedule of systemd/,
    })
    assert.ok(!existsSync(join(folder, 'new')))
  })
})

async function withSystemd(t: TestContext, work: (told: () => string[]) => Promise<void>): Promise<void> {
  if (!likeSystemd(t)) return lacking(t, 'needs systemd, or root')
  await work(fakeSystemctl(t))
}

test('without systemd there is a line for the crontab', async () => {
  const job = readJob('/etc/vmapipe/jobs/libvirt.yaml', JOBS.libvirt)
  assert.deepEqual(await crontabLines({ ...job, schedule: ['Mon..Sat 01:30'] }, { program }), [
    "30 1 * * 1,2,3,4,5,6 /bin/true '/opt/my vmapipe/$x \\%i.js' job run /etc/vmapipe/jobs/libvirt.yaml",
  ])
})
