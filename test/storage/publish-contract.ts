/**
 * What a file that is written must keep to on every filesystem, in a program of its own: `node publish-contract.ts FOLDER`. So it
 * runs under another kernel too. With `hold` it begins a file there, says so, and goes on until it is killed.
 */

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { openDriveReader, openDriveWriter } from '../../src/storage/open.ts'
import { PartialFile } from '../../src/storage/partial-file.ts'

const [, , folder, hold] = process.argv
const SIZE = 1 << 20
const bytes = (letter: string) => Buffer.alloc(SIZE, letter)
const list = () => readdirSync(folder).sort()

async function written(name: string, letter: string, force = false): Promise<PartialFile> {
  const file = await PartialFile.create(join(folder, name), { force, warn: assert.fail })
  await file.handle.write(bytes(letter), 0, SIZE, 0)
  await file.handle.sync()
  return file
}

async function publishes(): Promise<void> {
  const first = await written('a', '1')
  assert.equal(list().length, 1)
  assert.ok(!list().includes('a'))
  await first.publish()
  assert.deepEqual(list(), ['a'])
  await assert.rejects(written('a', '2'), { message: /exists and was not overwritten/ })
  const second = await written('a', '2', true)
  assert.ok(readFileSync(join(folder, 'a')).equals(bytes('1')))
  await second.publish()
  assert.ok(readFileSync(join(folder, 'a')).equals(bytes('2')))
  const given = await written('b', '3')
  await given.close()
  assert.deepEqual(list(), ['a'])
}

async function replacesNothing(): Promise<void> {
  const file = await written('theirs', '4')
  writeFileSync(join(folder, 'theirs'), 'theirs')
  await assert.rejects(file.publish(), { message: /has appeared meanwhile/ })
  await file.close()
  assert.equal(readFileSync(join(folder, 'theirs'), 'utf8'), 'theirs')
  assert.deepEqual(list(), ['a', 'theirs'])
}

/** A folder that is removed while a file in it was open a moment ago. */
async function makesImages(): Promise<void> {
  for (const format of ['qcow2', 'vmdk']) {
    const path = join(folder, `image.${format}`)
    const writer = await openDriveWriter(`${format}:${path}`, { size: SIZE, warn: assert.fail })
    await writer.write([bytes('5')], 0)
    await writer.flush()
    await writer.publish()
    await writer.close()
    const reader = await openDriveReader(`${format}:${path}`)
    const content = Buffer.alloc(SIZE)
    await reader.read(content, 0)
    await reader.close()
    assert.ok(content.equals(bytes('5')))
  }
  const given = await openDriveWriter(`qcow2:${join(folder, 'given.qcow2')}`, { size: SIZE, warn: assert.fail })
  await given.write([bytes('6')], 0)
  await given.close()
  assert.deepEqual(list(), ['a', 'image.qcow2', 'image.vmdk', 'theirs'])
}

async function clearsUp(): Promise<void> {
  // One after the other: an entry that is not locked yet, as it was made just now, is taken for one that was left.
  const holders = [await startHolder('file'), await startHolder('image')]
  const warnings: string[] = []
  const run = async () => {
    const file = await PartialFile.create(join(folder, 'c'), { warn: (line) => warnings.push(line) })
    await file.close()
  }
  const before = list()
  await run()
  assert.deepEqual(list(), before)
  assert.deepEqual(warnings, [])
  for (const holder of holders) {
    holder.kill('SIGKILL')
    await once(holder, 'exit')
  }
  // The qemu-nbd of the one that writes an image ends a moment later; NFS keeps what it has open.
  await run()
  await run()
  assert.deepEqual(list(), ['a', 'image.qcow2', 'image.vmdk', 'theirs'])
  assert.equal(warnings.filter((line) => /^removed .*left by a run/.test(line)).length, 2, warnings.join())
}

async function startHolder(what: string) {
  const child = spawn(process.execPath, [import.meta.filename, folder, what], { stdio: ['ignore', 'pipe', 'inherit'] })
  const held = once(child.stdout, 'data').then(() => true)
  const isHeld = await Promise.race([held, once(child, 'exit').then(() => false)])
  assert.ok(isHeld, `the run that holds a ${what} ended`)
  return child
}

if (hold !== undefined) {
  if (hold === 'file') await written('held', '7')
  else await openDriveWriter(`qcow2:${join(folder, 'held.qcow2')}`, { size: SIZE })
  process.stdout.write('held\n')
  setInterval(() => {}, 1000)
} else {
  await publishes()
  await replacesNothing()
  await makesImages()
  await clearsUp()
}
