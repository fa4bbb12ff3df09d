/**
 * Opens block devices to write to. A device that is in use is never written: the kernel refuses it with O_EXCL, and image locks are
 * checked. A device with any content is written only with `force`.
 */

import { constants, type Stats } from 'node:fs'
import { type FileHandle, readdir, readFile, stat } from 'node:fs/promises'
import { VmapipeError } from '../../core/errors.ts'
import { refuseIfRead } from '../being-read.ts'
import { openRaw, sizeOf } from '../raw-file.ts'
import { lockImage } from './image-lock.ts'
import { splitDevice } from './lock-holders.ts'
import { findContent } from './signatures.ts'

export interface DeviceOptions {
  /** Overwrites a device that has content. A device that is in use is never overwritten. */
  force?: boolean | undefined
}

/** Opens a device to read and write, and locks it until it is closed. Throws FAILED if it is in use, or not empty. */
export async function openDevice(
  path: string,
  { force = false }: DeviceOptions = {},
): Promise<{ file: FileHandle; size: number }> {
  const { file, stats } = await openUnused(path)
  try {
    refuseIfRead(stats, path)
    await refuseIfHeld(stats, path)
    await lockImage(file, path, 'overwrite')
    const size = sizeOf(path, file, stats)
    if (!force) await refuseIfNotEmpty(file, size, path)
    return { file, size }
  } catch (error) {
    await file.close()
    throw error
  }
}

/** Opens a file or device to write to. For a device, O_EXCL without O_CREAT means: not while anything else claims it (Linux). */
export async function openUnused(path: string): Promise<{ file: FileHandle; stats: Stats }> {
  try {
    return await openRaw(path, constants.O_RDWR | constants.O_EXCL)
  } catch (error) {
    const { cause } = error as { cause?: NodeJS.ErrnoException }
    if (cause?.code !== 'EBUSY') throw error
    throw inUse(path, (await usersOf(path)) ?? 'something claims it (a mount, swap, a volume or an array)')
  }
}

async function refuseIfHeld(stats: Stats, path: string): Promise<void> {
  const holders = await holdersOfDevice(folderOf(stats))
  if (holders.length > 0) throw inUse(path, `${holders.join(' and ')} is on it`)
}

async function refuseIfNotEmpty(file: FileHandle, size: number, path: string): Promise<void> {
  const content = await findContent(file, size)
  if (content === null) return
  throw new VmapipeError('FAILED', `the device is not empty, and was not overwritten: it has ${content}`, {
    file: path,
    hint: 'name another device, or allow it with --force',
  })
}

function inUse(file: string, by: string): VmapipeError {
  return new VmapipeError('FAILED', `the device is in use: ${by}`, {
    file,
    hint: 'unmount or release it first, or name another; --force does not change that',
  })
}

/** Says what uses the device or a partition of it, as far as sysfs and proc tell. */
async function usersOf(path: string): Promise<string | null> {
  const stats = await stat(path).catch(() => null)
  if (!stats?.isBlockDevice()) return null
  const folder = folderOf(stats)
  const numbers = await numbersOf(folder)
  const holders = await holdersOfDevice(folder)
  const mounts = (await linesOf('/proc/self/mountinfo')).map((line) => line.split(' '))
  const mount = mounts.find(([, , device]) => numbers.has(device))
  if (mount !== undefined) return `it is mounted on ${mount[4].replace(/\\040/g, ' ')}`
  if (holders.length > 0) return `${holders.join(' and ')} is on it`
  return (await isSwap(stats)) ? 'it is swap space' : null
}

async function isSwap({ rdev }: Stats): Promise<boolean> {
  const paths = (await linesOf('/proc/swaps')).slice(1).map((line) => line.split(/\s/)[0])
  const found = await Promise.all(paths.map((path) => stat(path).catch(() => null)))
  return found.some((stats) => stats?.isBlockDevice() && stats.rdev === rdev)
}

function folderOf(stats: Stats): string {
  return `/sys/dev/block/${splitDevice(stats.rdev).join(':')}`
}

/** The numbers of the device and its partitions, such as "8:0". */
async function numbersOf(folder: string): Promise<Set<string>> {
  const folders = [folder, ...(await partitionsOf(folder))]
  return new Set((await Promise.all(folders.map((one) => linesOf(`${one}/dev`)))).map(([first]) => first))
}

/** The names of volumes (dm) and arrays (md) on the device or on a partition of it. */
async function holdersOfDevice(folder: string): Promise<string[]> {
  const folders = [folder, ...(await partitionsOf(folder))]
  const names = await Promise.all(folders.map((one) => readdir(`${one}/holders`).catch(() => [])))
  return [...new Set(names.flat())]
}

async function partitionsOf(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => [])
  const folders = entries.filter((entry) => entry.isDirectory()).map(({ name }) => `${folder}/${name}`)
  const isPartition = await Promise.all(
    folders.map(async (one) => (await linesOf(`${one}/partition`))[0] !== undefined),
  )
  return folders.filter((_, index) => isPartition[index])
}

async function linesOf(path: string): Promise<string[]> {
  const text = await readFile(path, 'utf8').catch(() => '')
  return text.split('\n').filter((line) => line !== '')
}
