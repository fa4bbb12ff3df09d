/** A guest's disk looked at from the host: is its filesystem whole, and what is in it? */

import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { copyFileSync, existsSync, mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { tmpDir } from '../tmp.ts'
import { which } from '../tools.ts'
import { SLOTS } from './disk.ts'
import { type Bounds, checkRecords, type DiskContent } from './records.ts'

/**
 * A disk as a running guest had it at one instant: what a power failure leaves. Its journal is replayed on a copy, as the
 * next mount would; after that the filesystem must be faultless, and the records those of that instant. The last one.
 */
export function assertRestoredDisk(t: Pick<TestContext, 'after'>, image: string, bounds: Bounds): number {
  const copy = join(tmpDir(t), 'copy')
  copyFileSync(image, copy)
  replayJournal(copy)
  assertCleanFilesystem(copy)
  return checkRecords(readDisk(t, copy), bounds)
}

/** A filesystem that was unmounted, or frozen: not one fault, and no journal to replay. */
export function assertCleanFilesystem(image: string): void {
  const { status, stdout, stderr } = e2fsck('-fn', image)
  assert.equal(status, 0, `the filesystem is damaged:\n${stdout}${stderr}`)
  assert.doesNotMatch(stdout + stderr, /skipping journal recovery/, 'the filesystem was not unmounted')
}

export function readDisk(t: Pick<TestContext, 'after'>, image: string): DiskContent {
  const dir = tmpDir(t)
  mkdirSync(join(dir, 'disk'))
  const take = (path: string) =>
    execFileSync(which('debugfs')!, ['-R', `rdump ${path} ${dir}/disk`, image], { stdio: 'pipe' })
  for (const path of ['/log', '/slots', '/ballast']) take(path)
  const path = (name: string) => join(dir, 'disk', name)
  return {
    log: readFileSync(path('log'), 'latin1'),
    slots: Array.from({ length: SLOTS }, (_, slot) => readFileSync(path(`slots/${slot}`))),
    ballast: existsSync(path('ballast')) ? readFileSync(path('ballast')) : undefined,
  }
}

/** What a mount repairs, and no more: the journal, files that were being removed, and the superblock's own sums. */
function replayJournal(image: string): void {
  const { status, stdout, stderr } = e2fsck('-p', image)
  const lines = stdout.split('\n').filter(Boolean)
  const beyond = lines.filter((line) => !/recovering journal|orphaned inode|clean, \d+\/\d+ files/i.test(line))
  assert.ok(status === 0 || status === 1, `the journal could not be replayed:\n${stdout}${stderr}`)
  assert.deepEqual(beyond, [], 'more than the journal had to be repaired')
}

function e2fsck(how: '-p' | '-fn', image: string) {
  return spawnSync(which('e2fsck')!, [how, image], { encoding: 'utf8', env: { ...process.env, LC_ALL: 'C' } })
}
