import assert from 'node:assert/strict'
import { readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { archiveTarget } from '../../../src/storage/archive/target.ts'
import { loopDevice, needsLoopDevice } from '../../support/loop-device.ts'
import { tmpDir } from '../../support/tmp.ts'
import { shellCopy } from './processes.ts'

test('/dev/null takes an archive, and stays what it is', async () => {
  const target = archiveTarget('/dev/null')
  await target.open()
  await target.write([Buffer.from('x')])
  await target.finish()
  assert.ok(statSync('/dev/null').isCharacterDevice())
})

test('a full device is a clear error', async () => {
  const target = archiveTarget('/dev/full')
  await target.open()
  await target.write([Buffer.alloc(0)])
  await assert.rejects(target.write([Buffer.from('x')]), { code: 'FAILED', message: /no space left/ })
  await target.abort()
})

const CONTENT = { code: 'FAILED', message: /not empty, and was not overwritten/, hint: /--force/ }

test(
  'a block device that holds something takes an archive with force only, an empty one without',
  needsLoopDevice,
  async (t) => {
    const path = join(tmpDir(t), 'device')
    writeFileSync(path, Buffer.alloc(2 ** 20))
    const device = loopDevice(t, path)
    const write = async (force: boolean, text: string) => {
      const target = archiveTarget(device, { force })
      await target.open()
      await target.write([Buffer.from(text)])
      await target.finish()
    }
    await write(false, 'first')
    await assert.rejects(archiveTarget(device).open(), CONTENT)
    assert.equal(readFileSync(device).toString('latin1', 0, 5), 'first')
    await write(true, 'again')
    assert.equal(readFileSync(device).toString('latin1', 0, 5), 'again')
  },
)

test('standard output that is a file is written from where it stands', { timeout: 60_000 }, async (t) => {
  const dir = tmpDir(t)
  writeFileSync(join(dir, 'in'), 'archive')
  const { code, stderr } = await shellCopy(`cd '${dir}'; { printf 'before '; $COPY in -; printf ' after'; } >out`)
  assert.equal(code, 0, stderr)
  assert.equal(readFileSync(join(dir, 'out'), 'utf8'), 'before archive after')
})

test('standard output that is appended to keeps what is there', { timeout: 60_000 }, async (t) => {
  const dir = tmpDir(t)
  writeFileSync(join(dir, 'in'), 'archive')
  writeFileSync(join(dir, 'out'), 'before ')
  assert.equal((await shellCopy(`cd '${dir}'; $COPY in - >>out`)).code, 0)
  assert.equal(readFileSync(join(dir, 'out'), 'utf8'), 'before archive')
})
