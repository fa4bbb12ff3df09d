import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { guestOfCommand } from '../../src/jobs/guests/processes.ts'
import { unprotected } from '../../src/jobs/unprotected.ts'
import { serve } from '../live/serving.ts'
import { putVirsh } from '../support/fake-virsh.ts'
import { writeImage } from '../support/image.ts'
import { entries, nightly } from './run/nightly.ts'

const signal = new AbortController().signal
const VIRSH = `#!/bin/sh\nprintf 'web\\nforgotten\\n'\n`

describe('what is not backed up', () => {
  test('is told: guests of libvirt and disk servers in no job, guests without archives, new drives', {
    timeout: 120_000,
  }, async (t) => {
    putVirsh(t, VIRSH)
    const night = nightly(t, ['files', 'more'])
    const serving = await serve(t, { 'drive-scsi0': night.disk('more') })
    const job = night.job(`guests:\n  - libvirt: web\n${entries(night, ['files'])}to: ${night.dir}/place\n`)
    const before = await unprotected([job], signal)
    assert.deepEqual(
      before.guests.filter(({ kind }) => kind === 'libvirt'),
      [{ name: 'forgotten', kind: 'libvirt' }],
    )
    assert.ok(before.guests.some(({ name, kind }) => kind === 'serve' && name === serving.control))
    assert.deepEqual(
      before.disks.map(({ guest, archive }) => [guest, archive]),
      [
        ['web', null],
        ['files', null],
      ],
    )

    await night.run(job, { guests: ['files'] }).run()
    writeImage(`${night.dir}/new.raw`, 1 << 20, { noise: 1000 })
    const grown = night.job(
      `guests:\n  - name: files\n    drives: { drive-scsi0: ${night.disk('files')}, drive-scsi1: ${night.dir}/new.raw }\n  - attach: ${serving.control}\nto: ${night.dir}/place\n`,
    )
    const after = await unprotected([grown], signal)
    assert.deepEqual(after.disks.find(({ guest }) => guest === 'files')!.drives, ['drive-scsi1'])
    assert.ok(!after.guests.some(({ name }) => name === serving.control))
  })

  test('is found by the command lines of QEMUs, as people and managers write them', () => {
    const of = (line: string) => guestOfCommand(7, line.split(' '), '/srv')
    assert.deepEqual(
      of('/usr/bin/qemu-system-x86_64 -name guest=web,debug-threads=on -qmp unix:/run/web.qmp,server=on'),
      {
        ...{ pid: 7, kind: 'qemu', name: 'web', sockets: ['/run/web.qmp'], uuid: null },
      },
    )
    assert.deepEqual(of('qemu-system-x86_64 -name db -chardev socket,id=m,path=db.qmp,server=on')!.sockets, [
      '/srv/db.qmp',
    ])
    assert.equal(of('qemu-system-x86_64 -m 64')!.name, 'QEMU 7')
    assert.equal(of('node /x/vmapipe.js serve -d a=b --control=ctl')!.name, '/srv/ctl')
    assert.equal(of('qemu-img convert a b'), null)
    assert.equal(of('vim qemu-system-x86_64'), null)
  })
})
