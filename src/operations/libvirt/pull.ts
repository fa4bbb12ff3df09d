/**
 * Moves the data of a live restore into the images while the guest runs on them: block jobs of libvirt copy what an image does not have
 * yet from the archive below it. If the guest is off, qemu-img does the same.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import { VmapipeError } from '../../core/errors.ts'
import { Domain } from '../../machine/libvirt/domain.ts'
import { attribute, find, remove, xmlText } from '../../machine/libvirt/xml.ts'
import type { Virsh } from '../../protocol/libvirt/virsh.ts'
import { fileName, runTool } from '../../storage/qemu-nbd.ts'
import type { LiveDisk, LiveState } from './live-state.ts'

const LOOK_MS = 500
/** Jobs of one disk that fail one after the other before the restore ends. */
const MOST_FAILURES = 3

export interface PullProgress {
  /** Bytes that were looked at, and that there are. */
  done: number
  total: number
}

interface Pulling {
  virsh: Virsh
  signal: AbortSignal
  /** Bytes a second of all disks together. */
  bwlimit?: number | undefined
  onProgress(progress: PullProgress): void
  inform(message: string): void
}

/** Resolves when no image needs the archive. Throws ABORTED, or FAILED if a disk cannot be completed. */
export async function pullAll(state: LiveState, pulling: Pulling): Promise<void> {
  const { virsh, signal, onProgress } = pulling
  const open = new Map(state.disks.map((disk) => [disk.target, disk]))
  const progress = new Map<string, PullProgress>()
  const failures = new Map<string, number>()
  const begun = new Set<string>()
  while (open.size > 0) {
    signal.throwIfAborted()
    if (!(await virsh.isActive(state.uuid))) {
      await completeOffline([...open.values()], state, pulling)
      return
    }
    const live = await domainOf(virsh, state.uuid, false)
    for (const disk of [...open.values()]) {
      const { target } = disk
      if (!needsArchive(live, target)) {
        open.delete(target)
        continue
      }
      const job = await jobOf(virsh, state.uuid, target)
      if (job !== null) {
        progress.set(target, job)
        continue
      }
      if (begun.has(target) && (failures.get(target) ?? 0) >= MOST_FAILURES)
        throw new VmapipeError(
          'FAILED',
          `the disk ${target} cannot be completed: its block job fails again and again`,
          {
            hint: 'virsh domblkerror, and the log of the guest say why; the same command goes on',
          },
        )
      if (begun.has(target)) failures.set(target, (failures.get(target) ?? 0) + 1)
      begun.add(target)
      await begin(disk, state, pulling)
    }
    const all = [...progress.values()]
    onProgress({
      done: all.reduce((sum, { done }) => sum + done, 0),
      total: all.reduce((sum, { total }) => sum + total, 0),
    })
    if (open.size > 0) await sleep(LOOK_MS, undefined, { signal }).catch(() => signal.throwIfAborted())
  }
}

/** Ends the jobs in good order, before the archive goes away below them. What was copied stays in the images. */
export async function endJobs({ uuid, disks }: LiveState, virsh: Virsh): Promise<void> {
  for (const { target } of disks)
    await virsh.run('blockjob', `--domain=${uuid}`, `--path=${target}`, '--abort').catch(() => {})
}

/** The domain ends with plain images: nothing of its definition names the archive any more. */
export async function makePlain(
  { uuid, disks }: LiveState,
  virsh: Virsh,
  define: (xml: string) => Promise<void>,
): Promise<void> {
  const domain = await domainOf(virsh, uuid, true)
  for (const { element, target } of domain.disks) {
    const disk = disks.find((one) => one.target === target)
    if (disk === undefined) continue
    const store = find(element, 'backingStore')
    if (store !== undefined) remove(store)
    const driver = find(element, 'driver')
    for (const [name, value] of [
      ['error_policy', disk.errors],
      ['rerror_policy', disk.readErrors],
    ] as const) {
      if (value === null) driver?.removeAttribute(name)
      else driver?.setAttribute(name, value)
    }
  }
  await define(xmlText(domain.document))
}

async function begin({ target }: LiveDisk, { uuid, disks }: LiveState, { virsh, bwlimit }: Pulling): Promise<void> {
  const limit =
    bwlimit === undefined ? [] : [`--bandwidth=${Math.max(1, Math.floor(bwlimit / disks.length))}`, '--bytes']
  await virsh.run('blockpull', `--domain=${uuid}`, `--path=${target}`, ...limit).catch((error) => {
    // It has ended between two looks.
    if (!/domain is not running/.test(error.message)) throw error
  })
}

/** Null if there is none. */
async function jobOf(virsh: Virsh, uuid: string, target: string): Promise<PullProgress | null> {
  const text = await virsh.run('blockjob', `--domain=${uuid}`, `--path=${target}`, '--raw').catch((error) => {
    if (/domain is not running/.test(error.message)) return ''
    throw error
  })
  const [, done] = /^\s*cur=(\d+)/m.exec(text) ?? []
  const [, total] = /^\s*end=(\d+)/m.exec(text) ?? []
  return done === undefined || total === undefined ? null : { done: Number(done), total: Number(total) }
}

/** The locks of the images keep the guest from starting meanwhile, and us from working on one that has just been started. */
async function completeOffline(
  disks: readonly LiveDisk[],
  { uuid }: LiveState,
  { virsh, signal, inform }: Pulling,
): Promise<void> {
  inform('the guest is off: its images are completed without it')
  for (const { path, target } of disks) {
    if (!needsArchive(await domainOf(virsh, uuid, true), target)) continue
    await runTool('qemu-img', ['rebase', '-q', '-f', 'qcow2', '-b', '', '--', fileName(path)], signal)
  }
}

async function domainOf(virsh: Virsh, uuid: string, inactive: boolean): Promise<Domain> {
  const xml = await virsh.run('dumpxml', `--domain=${uuid}`, ...(inactive ? ['--inactive'] : []))
  return Domain.parse(xml, 'the XML of the domain')
}

/** Whether there is anything below the image of the disk. */
function needsArchive({ disks }: Domain, target: string): boolean {
  const disk = disks.find((one) => one.target === target)
  return disk !== undefined && attribute(find(disk.element, 'backingStore'), 'type') !== undefined
}
