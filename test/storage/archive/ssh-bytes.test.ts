import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdirSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import { Counters } from '../../../src/core/counters.ts'
import { backup } from '../../../src/operations/backup.ts'
import { openArchive } from '../../../src/operations/open-archive.ts'
import { parsePlace, type SshPlace } from '../../../src/storage/archive/spec.ts'
import { OnlyInOrder, SshBytes } from '../../../src/storage/archive/ssh-bytes.ts'
import { SSH_HOST, startSshd } from '../../support/sshd.ts'

const hooks: (() => void)[] = []
after(() => {
  for (const hook of hooks.reverse()) hook()
})

const sshd = await startSshd({ after: (hook?: unknown) => void hooks.push(hook as () => void) })
const { home } = sshd

const place = (name: string) => parsePlace(`ssh://${SSH_HOST}${join(home, name)}`) as SshPlace
const content = randomBytes(3_000_000)

describe('an archive on another machine, in any order', { timeout: 60_000 }, () => {
  test('many ranges at once, none of them mixed up', async () => {
    writeFileSync(join(home, 'some file'), content)
    const bytes = await SshBytes.open(place('some file'), {})
    assert.equal(bytes.size, content.length)
    const ranges = Array.from({ length: 40 }, (_, index) => [index * 60_000, 1 + index * 997])
    await Promise.all(
      ranges.map(async ([offset, length]) => {
        const buffer = Buffer.alloc(length)
        await bytes.read(buffer, offset)
        assert.ok(buffer.equals(content.subarray(offset, offset + length)))
      }),
    )
    await bytes.close()
  })

  test('a connection that breaks is begun again; another file under the name is noticed', async () => {
    const path = join(home, 'breaks')
    writeFileSync(path, content)
    const warnings: string[] = []
    const bytes = await SshBytes.open(place('breaks'), { warn: (line) => warnings.push(line) })
    const buffer = Buffer.alloc(1000)
    await bytes.read(buffer, 0)
    sshd.cut()
    await bytes.read(buffer, 500_000)
    assert.ok(buffer.equals(content.subarray(500_000, 501_000)))
    assert.match(warnings.join(), /broke and is begun again/)
    writeFileSync(`${path}.new`, content)
    renameSync(`${path}.new`, path)
    sshd.cut()
    await assert.rejects(bytes.read(buffer, 0), { message: /another file than before/ })
    await bytes.close()
  })

  test('what is no file is told from what is not there', async () => {
    mkdirSync(join(home, 'folder'))
    execFileSync('mkfifo', [join(home, 'fifo')])
    await assert.rejects(SshBytes.open(place('folder'), {}), { code: 'USAGE', message: /is a folder/ })
    await assert.rejects(SshBytes.open(place('fifo'), {}), OnlyInOrder)
    await assert.rejects(SshBytes.open(place('nothing'), {}), { code: 'FAILED', message: /nothing/ })
  })

  test('a piece of a drive is read without fetching the archive', async () => {
    const image = join(home, 'disk.raw')
    const disk = randomBytes(20 << 20)
    writeFileSync(image, disk)
    for (const name of ['vm.vma', 'vm.vma.zst']) {
      await backup({ drives: { a: image }, to: join(home, name) })
      const counters = new Counters()
      const archive = await openArchive(`ssh://${SSH_HOST}${join(home, name)}`, { counters })
      const buffer = Buffer.alloc(100)
      await archive.drive('a').read(buffer, 15_000_000)
      await archive.close()
      assert.ok(buffer.equals(disk.subarray(15_000_000, 15_000_100)))
      assert.ok(counters.get('read') < 8 << 20, `${counters.get('read')} bytes were read`)
    }
  })
})
