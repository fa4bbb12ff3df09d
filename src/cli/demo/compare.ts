/** Compares a drive's image with what it must have at a point in time, byte for byte. */

import { open } from 'node:fs/promises'
import { VmapipeError } from '../../core/errors.ts'
import { type DemoDrive, MIB, PAGE } from './drives.ts'
import { type DemoJournal, recordOf, type Write } from './journal.ts'

const PAGES = MIB / PAGE

/** Throws FAILED, with the first byte that differs, if the image at `path` is not `drive` at `instant` (milliseconds since the epoch). */
export async function compareDrive(
  path: string,
  drive: DemoDrive,
  { journal, instant }: { journal: DemoJournal; instant: number },
  signal: AbortSignal,
): Promise<void> {
  const pages = journal.pagesAt(drive.name, instant)
  const file = await open(path)
  try {
    const { size } = await file.stat()
    if (size !== drive.size)
      throw new VmapipeError('FAILED', `the image has ${size} bytes instead of ${drive.size}`, { file: path })
    const [found, wanted] = [Buffer.alloc(MIB), Buffer.alloc(MIB)]
    for (let mebibyte = 0; mebibyte * MIB < size; mebibyte++) {
      signal.throwIfAborted()
      await file.read(found, 0, MIB, mebibyte * MIB)
      compareMebibyte(found, wanted, { path, drive, mebibyte, pages })
    }
  } finally {
    await file.close()
  }
}

interface Place {
  path: string
  drive: DemoDrive
  mebibyte: number
  pages: Map<number, (Write | null)[]>
}

function compareMebibyte(found: Buffer, wanted: Buffer, { path, drive, mebibyte, pages }: Place): void {
  drive.fill(wanted, mebibyte)
  for (let index = 0; index < PAGES; index++) {
    const page = mebibyte * PAGES + index
    const allowed = pages.get(page)
    if (allowed === undefined) continue
    const [at, end] = [index * PAGE, (index + 1) * PAGE]
    // The page must be one of these. If it is none, the first one is missing.
    const contents = allowed.map((write) => (write === null ? Buffer.from(wanted.subarray(at, end)) : recordOf(write)))
    const there = contents.find((content) => content.compare(found, at, end) === 0)
    if (there === undefined) throw new VmapipeError('FAILED', missing(allowed), { file: path, offset: page * PAGE })
    there.copy(wanted, at)
  }
  if (found.equals(wanted)) return
  const at = found.findIndex((byte, index) => byte !== wanted[index])
  throw new VmapipeError('FAILED', 'the image differs from the drive at the point in time', {
    file: path,
    offset: mebibyte * MIB + at,
  })
}

function missing([write]: (Write | null)[]): string {
  return write === null
    ? 'a page that was written only after the point in time is not what it was'
    : `write ${write.number}, acknowledged before the point in time, is not what the page holds`
}
