import assert from 'node:assert/strict'
import { chmodSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { checkPlanner } from '../../../src/fleet/agent/check-planner.ts'
import { readJob } from '../../../src/jobs/file/load.ts'
import { unitsOf } from '../../../src/jobs/units/units.ts'
import { fleetHost } from './host.ts'
import { TOKEN, until } from './made-planner.ts'

/** A systemctl in the PATH, to which each file in a folder is a unit; the file `active` has the names of those that are. */
function fakeSystemctl(t: { after(hook: () => void): void }, dir: string) {
  const units = join(dir, 'units')
  mkdirSync(join(dir, 'bin'))
  mkdirSync(units)
  const program = join(dir, 'bin/systemctl')
  const script = `#!/bin/sh
test "$1" = --user && exit 1
for unit; do
  case $unit in vmapipe-*) ;; *) continue ;; esac
  grep -qx "$unit" ${units}/active 2>/dev/null && state=active || state=inactive
  printf 'Id=%s\\nActiveState=%s\\nFragmentPath=%s\\n\\n' "$unit" "$state" "${units}/$unit"
done
`
  writeFileSync(program, script)
  chmodSync(program, 0o755)
  const before = process.env.PATH
  process.env.PATH = `${join(dir, 'bin')}:${before}`
  t.after(() => {
    process.env.PATH = before
  })
  return {
    install(file: string, text: string) {
      const { service, timer } = unitsOf(readJob(file, text), { program: ['/bin/true', '/bin/true'], isUser: false })
      for (const unit of [service, timer!]) writeFileSync(join(units, unit.name), unit.text)
    },
    write: (name: string, text: string) => writeFileSync(join(units, name), text),
    setActive: (...names: string[]) => writeFileSync(join(units, 'active'), `${names.join('\n')}\n`),
  }
}

test('an agent warns, once, of a job that a timer of systemd begins too', { timeout: 120_000 }, async (t) => {
  const host = await fleetHost(t)
  const systemd = fakeSystemctl(t, host.dir)
  const text = `guests: [{ libvirt: "*" }]\nto: /srv/backup\nschedule: "01:30"\n`
  for (const name of ['nightly', 'weekly', 'agent']) host.jobFile(name, 'schedule: "01:30"\n')
  for (const name of ['nightly', 'weekly']) systemd.install(join(host.folder, `${name}.yaml`), text)
  // A service of ours that no job has, and that has the name of one.
  systemd.write('vmapipe-agent.service', '[Service]\nExecStart=/usr/bin/vmapipe fleet join https://planner:8460\n')
  systemd.setActive('vmapipe-nightly.timer', 'vmapipe-nightly.service', 'vmapipe-agent.service')
  const agent = await host.start()
  const line =
    'nightly: vmapipe-nightly.timer of systemd is active too, so its guests would be backed up twice: vmapipe job uninstall nightly'
  await until(() => host.planner.inventories.at(-1)?.warnings.includes(line))
  // It is looked at again and again.
  systemd.setActive('vmapipe-weekly.service', 'vmapipe-agent.service')
  await until(() => host.planner.inventories.at(-1)?.warnings.some((warning) => /^weekly: /.test(warning)))
  assert.deepEqual(
    host.lines.filter((one) => / of systemd is active/.test(one)),
    [
      `warning: ${line}`,
      'warning: weekly: vmapipe-weekly.service of systemd is active too, so its guests would be backed up twice: vmapipe job uninstall weekly',
    ],
  )
  assert.ok(!host.planner.inventories.at(-1)!.warnings.includes(line), 'what was uninstalled is not told any more')
  await agent.stop()

  const { signal } = new AbortController()
  const options = { url: host.planner.url, token: TOKEN, state: host.state, jobFolders: [host.folder] }
  assert.match((await checkPlanner(options, signal)).at(-1)!, /^weekly: vmapipe-weekly\.service of systemd is active/)
  // On a host without systemd there is nothing to warn of.
  rmSync(join(host.dir, 'bin'), { recursive: true })
  assert.ok(!(await checkPlanner(options, signal)).some((one) => / of systemd/.test(one)))
})
