/** Reads the drives of an archive in any order, and holds them against what a restore gives. */

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { Budget } from '../../src/core/budget.ts'
import { VmapipeError } from '../../src/core/errors.ts'
import { openArchive } from '../../src/operations/open-archive.ts'
import { restore } from '../../src/operations/restore.ts'
import { verify } from '../../src/operations/verify.ts'
import { attempt } from './fuzz.ts'

const BUDGET = 48 << 20
/** What is read at once of a drive, at places that are no cluster's. */
const PIECE = 300_001

/** All drives that can be had, or why not; of each its content, or why a part of it is not to be had. */
async function readDrives(path: string): Promise<Map<string, Buffer | VmapipeError> | VmapipeError> {
  const budget = new Budget(BUDGET)
  const archive = await attempt(() => openArchive(path, { budget, threads: 2 }), 'DAMAGED', 'INCOMPLETE', 'USAGE')
  if (archive instanceof VmapipeError) return archive
  const contents = new Map<string, Buffer | VmapipeError>()
  try {
    // Nobody reads more of a drive than the archive could hold twice over.
    for (const { name, size } of archive.manifest.drives.filter((drive) => drive.size < 64 << 20)) {
      const content = Buffer.alloc(size)
      const drive = archive.drive(name)
      const reads: Promise<void>[] = []
      for (let at = 0; at < size; at += PIECE) reads.push(drive.read(content.subarray(at, at + PIECE), at))
      const outcomes = await Promise.all(reads.map((read) => attempt(() => read, 'DAMAGED', 'INCOMPLETE')))
      contents.set(name, outcomes.find((outcome) => outcome instanceof VmapipeError) ?? content)
      await drive.close()
    }
  } finally {
    await archive.close()
  }
  assert.ok(budget.highWater <= BUDGET, `${budget.highWater} bytes at once`)
  return contents
}

interface Comparison {
  /** The index beside the archive may be another one's. */
  indexLies?: boolean
  /** Whether it may be for other keys than those that are there. */
  isSealed?: boolean
}

/** Where verify finds nothing wrong, drives read as they are restored. */
export async function compare(path: string, { indexLies = false, isSealed = false }: Comparison = {}): Promise<void> {
  const read = await readDrives(path)
  const codes = ['DAMAGED', 'INCOMPLETE', ...(isSealed ? (['USAGE'] as const) : [])] as const
  const sound = await attempt(() => verify({ from: path, buffer: BUDGET }), ...codes)
  if (sound instanceof VmapipeError) return
  // In a compressed one nothing may be found without an index, or with one that lies.
  if (read instanceof VmapipeError && (read.code === 'USAGE' || indexLies)) return
  assert.ok(!(read instanceof VmapipeError), `verified, not opened: ${(read as VmapipeError).line}`)
  for (const [name, content] of read) {
    if (indexLies && content instanceof VmapipeError) continue
    assert.ok(Buffer.isBuffer(content), `verified, not read: ${(content as VmapipeError).line}`)
    const raw = join(dirname(path), 'back.raw')
    await restore({ from: path, drives: { [name]: raw }, force: true })
    assert.ok(readFileSync(raw).equals(content), `drive '${name}' reads otherwise than it is restored`)
  }
}
