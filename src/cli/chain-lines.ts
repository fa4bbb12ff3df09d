/** Shows a chain of archives as a tree: each archive below its parent, with what it adds. */

import { basename } from 'node:path'
import { printable } from '../core/errors.ts'
import { formatBytes } from '../core/size.ts'
import type { AddedArchive, AddedDrive } from '../operations/describe-chain.ts'
import { columns, count } from './text.ts'

/** Archives that are each shown further to the right. A long chain goes on below the last of them. */
const MOST_STEPS = 12

export function chainLines(archives: readonly AddedArchive[]): string[] {
  const rows = archives.map(({ place, ctime, full, bytes, drives }, depth) => {
    const step = depth === 0 ? '' : `${'  '.repeat(Math.min(depth, MOST_STEPS) - 1)}└ `
    const what = full ? `full, ${formatBytes(bytes)}` : `adds ${formatBytes(bytes)}`
    return [
      `${step}${printable(basename(place))}`,
      timeOf(ctime) ?? `${ctime} seconds since 1970`,
      what,
      drivesOf(drives),
    ]
  })
  return ['CHAIN:', ...columns(rows).map((line) => line.trimEnd())]
}

function drivesOf(drives: readonly AddedDrive[]): string {
  return drives
    .filter(({ data, zero }) => data + zero > 0)
    .map(({ name, data, zero }) => `${printable(name)}: ${count(data, 'cluster')}${zero > 0 ? `, ${zero} zeroed` : ''}`)
    .join('; ')
}

/** For programs, the full archive first. */
export function chainJson(archives: readonly AddedArchive[]): object[] {
  return archives.map(({ place, uuid, ctime, full, bytes, drives }) => {
    return { place, uuid, ctime, time: timeOf(ctime), full, bytes, drives }
  })
}

function timeOf(seconds: number): string | null {
  const date = new Date(seconds * 1000)
  return Number.isNaN(date.getTime()) ? null : date.toISOString()
}
