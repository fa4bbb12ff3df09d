/** Opens the files of a folder that say what was written to which drive. */

import { createHash } from 'node:crypto'
import { constants } from 'node:fs'
import { open, readFile, statfs } from 'node:fs/promises'
import { uptime } from 'node:os'
import { join } from 'node:path'
import { asVmapipeError, VmapipeError } from '../../core/errors.ts'
import type { Disk } from '../../storage/disk.ts'
import { makeDurableFolder, refuseShared, syncFolder } from '../../storage/folder.ts'
import { lockImage } from '../../storage/guard/image-lock.ts'
import { LOCAL_FILESYSTEMS } from '../../storage/local-filesystems.ts'
import { ChangeTracker, emptyHead } from './change-tracker.ts'
import { withoutUnsealed } from './generations.ts'
import { whyForeign } from './image-identity.ts'
import { Marks } from './marks.ts'
import { type Head, newNumber, TrackFile } from './track-file.ts'

export interface TrackedDrive {
  name: string
  disk: Disk
  /** The drive is on a server that others can write to. */
  isShared: boolean
}

export interface TrackingOptions {
  folder: string
  /** Nothing but this service ever writes to drives of which nothing could tell. */
  soleWriter?: boolean
  warn?: (message: string) => void
}

/** Makes the folder. Throws USAGE for one that cannot be meant. */
export async function openTrackingFolder({ folder, warn = () => {} }: TrackingOptions): Promise<void> {
  try {
    await makeDurableFolder(folder)
    await refuseShared(folder, [], 'name another folder with --track')
    const { type } = await statfs(folder)
    if (type >>> 0 === LOCAL_FILESYSTEMS.tmpfs)
      warn(`the folder of --track, ${folder}, is in memory: after a restart of this system all drives are read once`)
  } catch (error) {
    if (error instanceof VmapipeError && error.code === 'USAGE') throw error
    warn(`changes are not tracked: ${asVmapipeError(error).line}`)
  }
}

/** Why the drive cannot be tracked, or its tracker. Never fails because of the folder: a guest must start without it. */
export async function openTracker(
  { name, disk, isShared }: TrackedDrive,
  { folder, soleWriter = false, warn }: TrackingOptions,
): Promise<ChangeTracker | string> {
  if (disk.readOnly) return 'the drive is read-only'
  if (isShared && !soleWriter)
    return 'the drive is on a server that others can write to, too; --sole-writer says that nobody does'
  try {
    const path = join(folder, fileName(name))
    const file = new TrackFile(await openLocked(path))
    try {
      await syncFolder(folder, path)
      return await opened(file, { name, disk, soleWriter }, warn)
    } catch (error) {
      await file.close().catch(() => {})
      throw error
    }
  } catch (error) {
    return `changes cannot be tracked: ${asVmapipeError(error).line}`
  }
}

interface Opening {
  name: string
  disk: Pick<Disk, 'size' | 'identity'>
  soleWriter: boolean
}

/** Goes on with what the file says, as far as it can be believed. */
export async function opened(
  file: TrackFile,
  { name, disk, soleWriter }: Opening,
  warn?: (message: string) => void,
): Promise<ChangeTracker> {
  const image = (await disk.identity?.()) ?? null
  const boot = await bootId()
  const now = { image, boot, time: Date.now(), booted: Date.now() - uptime() * 1000 }
  const found = await believed(file, { name, size: disk.size })
  let head = typeof found === 'string' ? emptyHead(name, disk.size, found) : found
  if (head === found && head.generations.length > 0) {
    const until = await file.readUntil(head.use)
    const isUnknowable = soleWriter && image === null && head.image === null
    const reason = isUnknowable ? null : whyForeign({ ...head, until }, now)
    if (reason !== null) head = emptyHead(name, disk.size, reason)
  }
  if (!head.closed) withoutUnsealed(head)
  let marks: Marks | null = null
  try {
    marks = await marksOf(file, head)
  } catch (error) {
    head = emptyHead(name, disk.size, unreadable(error))
  }
  head = { ...head, use: newNumber(), closed: false, boot, image }
  await file.writeUntil(head.use, { killed: 0, failed: 0 })
  await file.writeHead(head)
  return new ChangeTracker(file, { head, marks }, warn)
}

/** What the file says, or why it says nothing. */
async function believed(file: TrackFile, drive: { name: string; size: number }): Promise<Head | string> {
  try {
    const head = await file.readHead()
    if (head === null) return 'nothing was tracked before'
    if (head.drive !== drive.name) return `the record of changes is that of another drive, ${head.drive}`
    return head.size === drive.size ? head : 'the drive was resized'
  } catch (error) {
    return unreadable(error)
  }
}

async function marksOf(file: TrackFile, { generations, size, region }: Head): Promise<Marks | null> {
  const newest = generations.at(-1)
  if (newest === undefined) return null
  const marks = new Marks(newest, size, region)
  await marks.load(file)
  return marks
}

function unreadable(error: unknown): string {
  return `the record of changes cannot be used: ${asVmapipeError(error).message}`
}

/** Open until it is closed, and locked so that two services do not share it. */
async function openLocked(path: string) {
  const file = await open(path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600)
  try {
    await lockImage(file, path, 'write')
    return file
  } catch (error) {
    await file.close()
    throw error
  }
}

function fileName(drive: string): string {
  const name = encodeURIComponent(drive)
  return `${name.length <= 200 ? name : createHash('sha256').update(drive).digest('hex')}.changes`
}

/** Of the system that runs; another one each time if it does not tell. */
async function bootId(): Promise<string> {
  return (await readFile('/proc/sys/kernel/random/boot_id', 'latin1').catch(newNumber)).trim()
}
