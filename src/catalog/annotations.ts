/**
 * What people and checks note of an archive. It is in small files beside the archive, so it goes where the archive goes, and other hosts
 * see it: NAME.notes and NAME.protected as Proxmox has them, and NAME.checks. See README.md.
 */

import { VmapipeError } from '../core/errors.ts'
import { besideArchive, SUFFIXES } from '../storage/archive/names.ts'
import { openPlace } from '../storage/archive/open-place.ts'
import { formatChecks, parseChecks } from './checks.ts'
import type { Annotations, Check } from './entry.ts'
import { readSmallIfThere, removeSmall, writeSmall } from './small-file.ts'

/** The most characters of notes that are written. */
const MOST_NOTES = 64 << 10

/** What is noted of the archive at this place. Errors: USAGE for a place that has no files beside it, FAILED. */
export async function readAnnotations(place: string): Promise<Annotations> {
  const [mark, notes, checks] = await Promise.all([
    openPlace(besideArchive(place, SUFFIXES.protection)).stat?.(),
    readSmallIfThere(besideArchive(place, SUFFIXES.notes)),
    readSmallIfThere(besideArchive(place, SUFFIXES.checks)),
  ])
  return {
    protected: (mark ?? null) !== null,
    notes: notes && textOfNotes(notes),
    checks: checks === null ? [] : parseChecks(checks.toString()),
  }
}

/** Text of notes as people have written them: UTF-8, without the newline of an editor at the end. */
export function textOfNotes(bytes: Buffer): string {
  return bytes.toString().trimEnd()
}

/** The files of checks that this process is writing, each with its last change. */
const changing = new Map<string, Promise<void>>()

/** Notes the result of a check. Of each kind the latest is kept. Errors: USAGE, FAILED. */
export async function recordCheck(place: string, check: Check): Promise<void> {
  await refuseMissing(place)
  const change = (changing.get(place) ?? Promise.resolve()).catch(() => {}).then(() => addCheck(place, check))
  changing.set(place, change)
  try {
    await change
  } finally {
    if (changing.get(place) === change) changing.delete(place)
  }
}

async function addCheck(place: string, check: Check): Promise<void> {
  const file = besideArchive(place, SUFFIXES.checks)
  const before = await readSmallIfThere(file)
  const others = before === null ? [] : parseChecks(before.toString()).filter(({ kind }) => kind !== check.kind)
  await writeSmall(file, formatChecks([...others, check]))
}

/** Protects the archive from being removed by `prune` and `forget`, or lets it go again. Errors: USAGE, FAILED. */
export async function setProtected(place: string, isProtected: boolean): Promise<void> {
  await refuseMissing(place)
  const file = besideArchive(place, SUFFIXES.protection)
  if (isProtected) await writeSmall(file, '')
  else await removeSmall(file)
}

/** Writes notes for people; null removes them. Errors: USAGE, FAILED. */
export async function setNotes(place: string, text: string | null): Promise<void> {
  await refuseMissing(place)
  const file = besideArchive(place, SUFFIXES.notes)
  if (text === null || text.trim() === '') return removeSmall(file)
  if (text.length > MOST_NOTES) {
    throw new VmapipeError('USAGE', `the notes have ${text.length} characters`, { hint: `at most ${MOST_NOTES}` })
  }
  await writeSmall(file, text)
}

/** Throws FAILED if there is no archive, so that nothing is left beside one that is gone. */
async function refuseMissing(place: string): Promise<void> {
  const { stat } = openPlace(place)
  if (stat === undefined) {
    throw new VmapipeError('USAGE', `nothing can be kept beside '${place}'`, {
      hint: 'name an archive in a folder, on another host by ssh://, or in a bucket',
    })
  }
  if ((await stat()) === null) {
    throw new VmapipeError('FAILED', `there is no archive '${place}'`, {
      hint: 'vmapipe archives PLACE tells what is there',
    })
  }
}
