import assert from 'node:assert/strict'
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { readJob } from '../../../src/jobs/file/load.ts'
import { findGuests } from '../../../src/jobs/guests/find.ts'
import { guestFolder, guestOfFolder } from '../../../src/jobs/guests/guest.ts'
import { proxmoxGuests } from '../../../src/jobs/guests/proxmox.ts'
import { putVirsh } from '../../support/fake-virsh.ts'
import { tmpDir } from '../../support/tmp.ts'

const signal = new AbortController().signal

function found(guests: string) {
  return findGuests(readJob('/etc/nightly.yaml', `guests:\n${guests}\nto: /srv/backup\n`), signal)
}

async function listen(t: TestContext, path: string): Promise<void> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(path, resolve))
  t.after(() => server.close())
}

describe('guests of libvirt', () => {
  const VIRSH = `#!/bin/sh\n[ "$*" = "-q list --all --name" ] || exit 9\nprintf 'web 1\\n\\ntest-a\\ndb\\n$(reboot)\\n'\n`

  test('are found by patterns of their names, which may have any characters; running or shut off', async (t) => {
    putVirsh(t, VIRSH)
    const { guests, errors } = await found('  - { libvirt: "*", exclude: [test-*] }')
    assert.deepEqual([guests.map(({ name }) => name), errors], [['$(reboot)', 'db', 'web 1'], []])
  })

  test('that are named and not there are guests that cannot be backed up; a pattern without any is a warning', async (t) => {
    putVirsh(t, VIRSH)
    const { guests, warnings } = await found('  - libvirt: [db, gone]\n  - libvirt: x-*')
    assert.deepEqual([guests.map(({ name }) => name), warnings], [['db', 'gone'], ['guests[1] finds no guest']])
  })

  test('of a libvirt that does not answer are an error, and all others are found', async (t) => {
    putVirsh(t, '#!/bin/sh\necho "error: failed to connect to the hypervisor" >&2\nexit 1\n')
    const { guests, errors } = await found('  - libvirt: "*"\n  - { name: files, drives: { d: /srv/d.raw } }')
    assert.deepEqual(
      [guests.map(({ name }) => name), errors],
      [['files'], ['guests[0]: virsh: failed to connect to the hypervisor']],
    )
  })

  test('are backed up as the first entry says that has them', async (t) => {
    putVirsh(t, VIRSH)
    const { guests } = await found('  - { libvirt: db, compress: lz4 }\n  - libvirt: "*"')
    assert.equal(guests.filter(({ name }) => name === 'db').length, 1)
    assert.equal(guests.find(({ name }) => name === 'db')!.entry.compress, 'lz4')
  })
})

describe('guests with sockets', () => {
  test('are named by the socket or by its folder; what is no socket is none', async (t) => {
    const dir = tmpDir(t)
    mkdirSync(join(dir, 'vm2'))
    await listen(t, join(dir, 'web.qmp'))
    await listen(t, join(dir, 'vm2/qmp.sock'))
    writeFileSync(join(dir, 'notes.qmp'), '')
    symlinkSync(join(dir, 'web.qmp'), join(dir, 'again.qmp'))
    const { guests } = await found(`  - qmp: ${dir}/*.qmp\n  - { qmp: ${dir}/*/qmp.sock, name-from: folder }`)
    assert.deepEqual(
      guests.map(({ name }) => name),
      ['web', 'vm2'],
    )
  })

  test('of one name are not mixed: the second one is told, and not backed up', async (t) => {
    const dir = tmpDir(t)
    await listen(t, join(dir, 'web.qmp'))
    await listen(t, join(dir, 'web.ctl'))
    const { guests, errors } = await found(`  - qmp: ${dir}/web.qmp\n  - attach: ${dir}/*.ctl`)
    assert.equal(guests.length, 1)
    assert.match(errors[0], /^two guests are named 'web': qmp:.*, and attach:.*, which is not backed up/)
  })
})

test('guests of Proxmox are those of this host whose id is in the ranges', async (t) => {
  const configs = tmpDir(t)
  for (const name of ['100.conf', '150.conf', '250.conf', 'x.conf', '99.conf.tmp'])
    writeFileSync(join(configs, name), '')
  const names = async (proxmox: (string | number)[]) =>
    (await proxmoxGuests({ proxmox }, signal, configs)).map(({ name }) => name)
  assert.deepEqual(await names(['100-199']), ['100', '150'])
  assert.deepEqual(await names([250, 100]), ['100', '250'])
  assert.deepEqual(await names(['*']), ['100', '150', '250'])
  await assert.rejects(names(['200-100']), /no range of ids/)
})

test('the folder of a guest leads nowhere else, and no two guests have the same', () => {
  const names = [
    'web',
    'WEB',
    'we b',
    'we-b',
    '..',
    '.',
    '../x',
    '-rf',
    'a/b',
    'a=2Fb',
    'ä',
    'a\u0308',
    'x'.repeat(250),
    `${'x'.repeat(249)}y`,
    '=',
    '%2F',
    '\n',
  ]
  const folders = names.map(guestFolder)
  assert.equal(new Set(folders).size, names.length)
  for (const folder of folders) assert.match(folder, /^[A-Za-z0-9_=][A-Za-z0-9._=-]{0,159}$/)
  assert.deepEqual(
    folders.map(guestOfFolder),
    names.map((name) => (name.length > 100 ? null : name)),
  )
  assert.deepEqual(['..', 'a b', '=zz', '=2e', ''].map(guestOfFolder), [null, null, null, null, null])
  assert.deepEqual([guestFolder('web-1.example'), guestFolder('../x')], ['web-1.example', '=2E.=2Fx'])
})
