/**
 * Dirty bitmaps for one backup: those that tell what to read, and those that the next backup begins at.
 *
 * The bitmap of the parent is never stopped. At the point in time a new bitmap begins, and the one of the parent is copied into a
 * disabled one, which the backup reads. So if the backup fails, or this process is killed at any moment, the bitmap of the parent is
 * as right as before. If the archive is there, both are right, whichever archive the next backup takes as its parent.
 */

import { asVmapipeError, VmapipeError } from '../../../core/errors.ts'
import { CLUSTER_SIZE } from '../../../core/geometry.ts'
import type { QmpClient } from '../../../protocol/qmp/client.ts'
import { type Command, executeAll, STEP_MS } from '../attachment/commands.ts'
import type { Graph } from '../attachment/overlays.ts'
import { bitmapAway } from '../attachment/removal.ts'
import type { QemuDrive } from '../inventory/discovery.ts'
import { bitmapsIn } from './found.ts'
import { addMark } from './marks.ts'
import { type BitmapKey, digestOf, endName, FROZEN, keyOf, plainUuid, sinceName } from './names.ts'
import { surplus } from './surplus.ts'
import { type BitmapParent, faultOf, mayPersist, obstacleTo, sealOf, trustIn } from './trust.ts'

export interface TrackingWish {
  /** Where the archives go, as a text that stays the same. */
  target: string
  /** The archive that is being made. Null if its uuid need not be its own: then the next backup gets no bitmap. */
  uuid: string | null
  /** The archive that is compared with; null for a full one. */
  parent: BitmapParent | null
}

interface TrackedDrive {
  name: string
  node: string
  size: number
  persistent: boolean
  /** The new bitmap; null if there is none. */
  key: BitmapKey | null
  /** The bitmaps of the parent; null if all is read. */
  old: { since: string; end: string } | null
}

export class BitmapTracking {
  /** Why drives are read as a whole, by their name. None if there is no parent. */
  readonly reasons: Readonly<Record<string, string>>
  readonly #drives: TrackedDrive[]
  readonly #wish: { target: string; parent: BitmapParent | null }
  readonly #warn: (message: string) => void

  private constructor(
    drives: TrackedDrive[],
    reasons: Record<string, string>,
    wish: { target: string; parent: BitmapParent | null },
    warn: (message: string) => void,
  ) {
    this.#drives = drives
    this.reasons = reasons
    this.#wish = wish
    this.#warn = warn
  }

  /** Looks only. */
  static async plan(
    qmp: QmpClient,
    chosen: readonly QemuDrive[],
    wish: TrackingWish,
    warn: (message: string) => void,
  ): Promise<BitmapTracking> {
    const [found, graph] = await Promise.all([
      bitmapsIn(qmp),
      qmp.execute<Graph>('x-debug-query-block-graph', undefined, { timeout: STEP_MS }),
    ])
    const target = digestOf(wish.target)
    const time = Math.floor(Date.now() / 1000)
    const reasons: Record<string, string> = {}
    const drives = chosen.map((drive): TrackedDrive => {
      const { name, node, size } = drive
      const seal = sealOf(drive, childrenOf(node, graph))
      const isTracked = wish.uuid !== null && obstacleTo(drive) === null
      const key = isTracked ? { target, uuid: plainUuid(wish.uuid!), seal, time } : null
      const trust = wish.parent === null ? null : trustIn(drive, seal, wish.parent, found)
      if (trust !== null && 'reason' in trust) reasons[name] = trust.reason
      const old = trust === null || 'reason' in trust ? null : trust
      return { name, node, size, persistent: mayPersist(drive), key, old }
    })
    return new BitmapTracking(drives, reasons, { target, parent: wish.parent }, warn)
  }

  /** Before the guest is paused: QEMU makes all bitmaps, and refuses what it cannot have. */
  async add(qmp: QmpClient): Promise<void> {
    await this.#makeRoom(qmp)
    for (const [index, drive] of this.#drives.entries()) {
      if (drive.old !== null) await addFrozen(qmp, drive)
      if (drive.key === null) continue
      try {
        await addPair(qmp, index, drive, drive.key)
      } catch (error) {
        const { message } = asVmapipeError(error)
        this.#warn(`${drive.name}: no dirty bitmap for the next backup, which will read the whole drive: ${message}`)
        await executeAll(qmp, removalOf(drive.node, drive.key))
        drive.key = null
      }
    }
  }

  /** Actions of the transaction that makes the point in time, before anything reads `frozen`. */
  get actions(): { type: string; data: object }[] {
    return this.#drives.flatMap(({ node, key, old }) => [
      ...(key === null ? [] : [{ type: 'block-dirty-bitmap-clear', data: { node, name: sinceName(key) } }]),
      // The last cluster too, always: a drive that lost a part of it has the same number of clusters.
      ...(old === null
        ? []
        : [{ type: 'block-dirty-bitmap-merge', data: { node, target: FROZEN, bitmaps: [old.since, old.end] } }]),
    ])
  }

  /** The name of the bitmap on its node that tells what is to be read of a drive; null: all of it. */
  frozen(index: number): string | null {
    return this.#drives[index].old === null ? null : FROZEN
  }

  /** After the point in time. Resolves with the number of clusters to be read of each drive; null for all. */
  async settled(qmp: QmpClient): Promise<(number | null)[]> {
    if (this.#drives.every(({ old }) => old === null)) return this.#drives.map(() => null)
    const found = await bitmapsIn(qmp)
    return this.#drives.map(({ name, node, old }) => {
      if (old === null) return null
      const here = (wanted: string) => found.find((bitmap) => bitmap.node === node && bitmap.name === wanted)
      const frozen = here(FROZEN)
      const fault =
        faultOf(here(old.since), here(old.end)) ?? (frozen === undefined ? 'its bitmap has been removed' : null)
      if (fault === null) return Math.ceil(frozen!.count / CLUSTER_SIZE)
      throw new VmapipeError('FAILED', `the drive changed just at the point in time: ${fault}`, {
        drive: name,
        hint: 'start the backup again: it will read the whole drive',
      })
    })
  }

  /**
   * At the end. With an archive the bitmaps of before it, for the same target, are not needed any more. Without one, what was made for
   * it goes. The rest stays, and nothing of it is lost by that.
   */
  async end(qmp: QmpClient, { published }: { published: boolean }): Promise<void> {
    const found = published ? await bitmapsIn(qmp) : []
    const commands = this.#drives.flatMap(({ node, key }) => {
      if (!published) return key === null ? [] : removalOf(node, key)
      const kept = key === null ? [] : [sinceName(key), endName(key)]
      return found
        .filter((bitmap) => bitmap.node === node && keyOf(bitmap.name)?.target === this.#wish.target)
        .filter(({ name }) => !kept.includes(name))
        .map(bitmapAway)
    })
    await executeAll(qmp, commands)
  }

  async #makeRoom(qmp: QmpClient): Promise<void> {
    const found = await bitmapsIn(qmp)
    const wish = { target: this.#wish.target, keep: this.#wish.parent?.uuid ?? null }
    await executeAll(qmp, surplus(found, wish).map(bitmapAway))
  }
}

function removalOf(node: string, key: BitmapKey): Command[] {
  return [sinceName(key), endName(key)].map((name) => bitmapAway({ node, name }))
}

async function addFrozen(qmp: QmpClient, { node }: TrackedDrive): Promise<void> {
  const args = { node, name: FROZEN, granularity: CLUSTER_SIZE, disabled: true }
  await qmp.execute('block-dirty-bitmap-add', args, { timeout: STEP_MS })
}

async function addPair(qmp: QmpClient, index: number, drive: TrackedDrive, key: BitmapKey): Promise<void> {
  const { node, size } = drive
  const add = (persistent: boolean) => {
    const args = { node, name: sinceName(key), granularity: CLUSTER_SIZE, persistent }
    return qmp.execute('block-dirty-bitmap-add', args, { timeout: STEP_MS })
  }
  // An image of an old version of qcow2 keeps no bitmaps.
  const kept = drive.persistent ? await add(true).catch(() => null) : null
  drive.persistent = kept !== null
  if (!drive.persistent) await add(false)
  await addMark(qmp, index, { node, size, name: endName(key), persistent: drive.persistent })
  const marked = (await bitmapsIn(qmp)).find((bitmap) => bitmap.node === node && bitmap.name === endName(key))
  if (marked?.count !== CLUSTER_SIZE) throw new VmapipeError('FAILED', 'QEMU has not marked the end of the drive')
}

/** What is right below a node. */
function childrenOf(node: string, { nodes, edges }: Graph): string[] {
  const names = new Map(nodes.map(({ id, name }) => [id, name]))
  const below = edges.filter(({ parent }) => names.get(parent) === node)
  return below.map(({ name, child }) => `${name} ${names.get(child)}`).sort()
}
