import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdirSync, readFileSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import { VmapipeError } from '../../src/core/errors.ts'
import { openArchive } from '../../src/operations/open-archive.ts'
import { restore } from '../../src/operations/restore.ts'
import { patchyImage } from '../access/made-archive.ts'
import { forgeChild, makeChain, recordOf, states } from '../support/chain.ts'
import { SSH_HOST, startSshd } from '../support/sshd.ts'
import { tmpDir } from '../support/tmp.ts'

const C = 65536
const STATES = states(patchyImage(20 * C, 3), patchyImage(9 * C, 4)).slice(0, 3)

suite('parents are looked for', { timeout: 60_000 }, () => {
  test('in a folder with pipes, huge files, broken links, noise and folders', async (t) => {
    const dir = tmpDir(t)
    execFileSync('mkfifo', [join(dir, 'zz.vma')])
    writeFileSync(join(dir, 'huge.vma'), '')
    truncateSync(join(dir, 'huge.vma'), 2 ** 42)
    symlinkSync('nowhere', join(dir, 'y.vma'))
    mkdirSync(join(dir, 'x.vma.zst'))
    writeFileSync(join(dir, 'w.vma.zst'), Buffer.concat([Buffer.from('28b52ffd', 'hex'), Buffer.alloc(100_000, 0xff)]))
    writeFileSync(join(dir, 'v.vma'), Buffer.from('VMA\0'))
    for (let index = 0; index < 300; index++) writeFileSync(join(dir, `noise${index}`), `${index}`)
    const paths = await makeChain(dir, STATES, { method: 'zstd' })
    await restore({ from: paths[2], into: join(dir, 'vm') })
    assert.ok(readFileSync(join(dir, 'vm', 'disk-drive-scsi0.raw')).equals(STATES[2]['drive-scsi0']))
  })

  test('but not round in a ring', async (t) => {
    const dir = tmpDir(t)
    const [one, two] = [Buffer.alloc(16, 1), Buffer.alloc(16, 2)]
    const [a, b] = [join(dir, 'a.vmi'), join(dir, 'b.vmi')]
    await forgeChild(a, one, { uuid: two, end: two })
    await forgeChild(b, two, await recordOf(a))
    const before = createHash('sha1').update(readFileSync(b).subarray(-512)).digest('hex')
    await forgeChild(a, one, await recordOf(b))
    assert.equal(createHash('sha1').update(readFileSync(b).subarray(-512)).digest('hex'), before)
    await assert.rejects(openArchive(a), (error) => {
      assert.ok(error instanceof VmapipeError)
      assert.equal(error.exitCode, 3)
      assert.match(error.line, /the chain of its parents goes round in a ring/)
      return true
    })
  })

  test('on another machine, beside the archive there or at a folder or archive that is named', async (t) => {
    const dir = tmpDir(t)
    const { home } = await startSshd(t)
    const [, one] = await makeChain(home, STATES.slice(0, 2), {
      method: 'zstd',
      name: (depth) => (depth === 0 ? 'a full%20one.vma.zst' : 'night.vmi.zst'),
    })
    const into = (name: string) => join(dir, name)
    const image = (name: string) => readFileSync(join(dir, name, 'disk-drive-scsi0.raw'))
    await restore({ from: `ssh://${SSH_HOST}${one}`, into: into('beside') })
    assert.ok(image('beside').equals(STATES[1]['drive-scsi0']))
    const here = join(dir, 'night.vmi.zst')
    writeFileSync(here, readFileSync(one))
    await restore({ from: here, into: into('folder'), parents: [`ssh://${SSH_HOST}${home}/`] })
    assert.ok(image('folder').equals(STATES[1]['drive-scsi0']))
  })
})
