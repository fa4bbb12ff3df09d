import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { readFileSync, renameSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { LAUNCHER } from '../../cli/cli.ts'
import { needs } from '../../support/tools.ts'
import { ended, HOST, hosted, runOn, until } from './hosted.ts'

const GUEST = 'web & "co"'

test('archives that no key opens are those of the guest in whose folder they are; damaged ones, too', {
  timeout: 180_000,
  ...needs('age-keygen'),
}, async (t) => {
  const host = hosted(t)
  const disk = host.disk('web')
  const key = execFileSync('age-keygen', { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
  const identity = join(host.dir, 'key.txt')
  writeFileSync(identity, key, { mode: 0o600 })
  const to = `to: { place: ${host.place}, recipients: [${/age1\w+/.exec(key)![0]}] }\n`
  const guests = `  - { name: ${JSON.stringify(GUEST)}, drives: { drive-scsi0: ${disk} } }\n`
  host.jobOf('nightly', guests, to)
  // Somebody has put one beside the folders of guests: nobody can say whose it is.
  const lost = join(host.place, 'lost.vma.age')
  await host.cli('backup', '-d', `drive-scsi0=${disk}`, '-o', lost, '--recipient', /age1\w+/.exec(key)![0])
  const house = await host.open(t)
  const [place] = (await runOn(house, 'nightly')).guests[0].places
  const row = await until(async () => (await house.archives({ guest: GUEST }))[0], 'an archive of the guest')
  assert.deepEqual([row.locked, row.encrypted, row.unreadable, row.uuid], [true, true, null, ''])
  assert.ok(Math.abs(Date.parse(row.at!) - Date.now()) < 3_600_000, row.at!)
  assert.match((await house.content(HOST, row.id)).problem!, /encrypted, and this host has no key/)
  const beside = (await house.archives({})).find(({ name }) => name === 'lost.vma.age')!
  assert.deepEqual([beside.guest, beside.locked], [null, true])

  host.jobOf('nightly', guests, `${to}identity: [${identity}]\n`)
  const opened = await until(async () => (await house.archives({ guest: GUEST })).find(({ uuid }) => uuid), 'its key')
  assert.deepEqual([opened.locked, opened.encrypted, opened.unreadable], [false, true, null])
  // Those who may only look see what a task does, and not where keys are.
  const verify = { do: 'verify', host: HOST, archive: opened.id } as const
  const verified = await ended(house, await house.act(verify, 'ann'))
  assert.deepEqual(
    [verified.state, verified.lines[0].split(' -- ')[0]],
    ['done', "$ vmapipe verify --record '--identity=…/key.txt'"],
  )
  // Those who may restore are shown a command that works as it is.
  const target = join(host.dir, 'restored.raw')
  const form = { host: HOST, archive: opened.id, drives: { 'drive-scsi0': target } }
  const command = await house.restoreCommand(form)
  assert.ok(command.includes(`--identity=${identity}`), command)
  const program = `vmapipe() { '${process.execPath}' '${LAUNCHER}' "$@"; }`
  execFileSync('sh', ['-c', `${program}; ${command}`], { env: { ...process.env, ...host.env }, stdio: 'pipe' })
  assert.ok(readFileSync(target).equals(readFileSync(disk)))
  renameSync(identity, `${identity}.away`)
  const failed = await ended(house, await house.act(verify, 'ann'))
  assert.equal(failed.state, 'failed')
  assert.match(failed.lines.join('\n'), /no such file.*…\/key\.txt/i)
  assert.ok(!failed.lines.some((line) => line.includes(identity)), failed.lines.join('\n'))
  renameSync(`${identity}.away`, identity)
  truncateSync(place, 300)
  writeFileSync(join(host.place, 'web=20=26=20=22co=22', 'touched'), '')
  const damaged = await until(
    async () => (await house.archives({ guest: GUEST })).find(({ unreadable }) => unreadable !== null),
    'the damage',
  )
  assert.equal(damaged.locked, false)
})
