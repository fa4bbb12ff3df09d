/**
 * A machine of a stock QEMU whose processors never start, with a raw and a qcow2 drive. The test writes to the drives as the guest
 * would: through their devices. It keeps what each drive holds, and what the chain of its backups gives, and compares them.
 */

import assert from 'node:assert/strict'
import type { ChildProcess } from 'node:child_process'
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { ftruncateSync, openSync } from 'node:fs'
import { join } from 'node:path'
import { CLUSTER_SIZE, clusterCount } from '../../../../src/core/geometry.ts'
import { Manifest, type Run } from '../../../../src/core/items.ts'
import { definePipeline } from '../../../../src/core/pipeline.ts'
import { defineStage, z } from '../../../../src/core/stage.ts'
import { guestSource } from '../../../../src/live/guest/guest-source.ts'
import { bitmapsIn, type DirtyBitmap } from '../../../../src/live/qemu/bitmaps/found.ts'
import { QmpClient } from '../../../../src/protocol/qmp/client.ts'
import { writeInterceptor } from '../../../../src/stages/write-interceptor.ts'
import { startQemu } from '../../../support/qemu.ts'
import type { QemuBuild } from '../../../support/qemu-builds.ts'
import { tmpDir } from '../../../support/tmp.ts'

type Hooks = { after(hook: () => void | Promise<void>): void }

/** Not whole clusters, so that the last one is a partial one. */
export const SIZE = 64 * CLUSTER_SIZE + 1536

export const DRIVES = ['drive-d0', 'drive-d1']

/** What one archive has, and what the drives held when it was made. */
export interface Backup {
  uuid: Uint8Array
  /** Of each drive, by the number of the cluster. */
  clusters: Map<number, Buffer>[]
  drives: Buffer[]
  parent: Backup | null
  reasons: Record<string, string>
}

export interface BackupOptions {
  since?: Backup | null
  mode?: 'guarded' | 'push'
  /** Another target has another folder. */
  target?: string
  /** Fails when everything was read, before the archive is published. */
  fails?: boolean
  /** Is run after the point in time, while clusters are read. */
  meanwhile?: () => Promise<void>
  /** Is run when all clusters are there; the archive is published then. */
  publish?: (made: Backup) => void
  uuid?: string
}

export class TrackedMachine {
  readonly dir: string
  readonly images: string[]
  /** What the guest has written. */
  readonly truth = [Buffer.alloc(SIZE), Buffer.alloc(SIZE)]
  qmp!: string
  monitor!: QmpClient
  child!: ChildProcess
  readonly #t: Hooks
  readonly #build: QemuBuild
  #serial = 0

  private constructor(t: Hooks, build: QemuBuild) {
    this.#t = t
    this.#build = build
    this.dir = tmpDir(t)
    this.images = [join(this.dir, 'disk0.raw'), join(this.dir, 'disk1.qcow2')]
    ftruncateSync(openSync(this.images[0], 'w'), SIZE)
    execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', this.images[1], String(SIZE)])
  }

  static async start(t: Hooks, build: QemuBuild): Promise<TrackedMachine> {
    const machine = new TrackedMachine(t, build)
    await machine.boot()
    for (const drive of [0, 1]) for (const cluster of [0, 5, 20, 63, 64]) await machine.write(drive, cluster)
    return machine
  }

  /** `more`: arguments. */
  async boot(more: readonly string[] = []): Promise<void> {
    const own = join(this.dir, `own${this.#serial++}`)
    const drives = this.images.flatMap((filename, index) => {
      const file = { driver: 'file', filename, discard: 'unmap' }
      const driver = filename.endsWith('.raw') ? 'raw' : 'qcow2'
      const node = JSON.stringify({ driver, 'node-name': `node${index}`, discard: 'unmap', file })
      return ['-blockdev', node, '-device', `virtio-blk-pci,drive=node${index},id=d${index}`]
    })
    const args = [...drives, '-qmp', `unix:${own},server=on,wait=off`, ...more]
    const { qmp, child } = await startQemu(this.#t, args, this.#build)
    this.qmp = qmp
    this.child = child
    this.monitor = await QmpClient.connect(own)
    this.#t.after(() => this.monitor.close())
  }

  /** Ends QEMU as it ends by itself, so that it stores what it has to. */
  async quit(): Promise<void> {
    const closed = once(this.child, 'close')
    await this.monitor.execute('quit').catch(() => {})
    await closed
  }

  async kill(): Promise<void> {
    const closed = once(this.child, 'close')
    this.child.kill('SIGKILL')
    await closed
  }

  /** Writes some bytes into a cluster, as the guest does. */
  async write(drive: number, cluster: number, truth: readonly Buffer[] = this.truth): Promise<void> {
    const at = cluster * CLUSTER_SIZE + 512 * (this.#serial % 2)
    const pattern = 1 + (this.#serial++ % 250)
    await this.io(drive, `write -P ${pattern} ${at} 1024`)
    truth[drive].fill(pattern, at, at + 1024)
  }

  async io(drive: number, command: string): Promise<void> {
    const path = `/machine/peripheral/d${drive}/virtio-backend`
    const said = await this.hmp(`qemu-io -d ${path} "${command}"`)
    assert.equal(said, '', command)
  }

  hmp(command: string): Promise<string> {
    return this.monitor.execute<string>('human-monitor-command', { 'command-line': command })
  }

  bitmaps(): Promise<DirtyBitmap[]> {
    return bitmapsIn(this.monitor)
  }

  /** Of our bitmaps on a node, how they begin: `since`, `end`, `frozen`. */
  async kinds(node: string): Promise<string[]> {
    const here = (await this.bitmaps()).filter((bitmap) => bitmap.node === node)
    return here.map(({ name }) => name.split('-')[1]).sort()
  }

  /** Makes an archive, which is not written anywhere, and checks that it gives what the drives held at its point in time. */
  async backup(options: BackupOptions = {}): Promise<Backup> {
    const backup = await this.run(options)
    this.check(backup)
    return backup
  }

  async run(options: BackupOptions): Promise<Backup> {
    const began = this.truth.map((drive) => Buffer.from(drive))
    const made = await backUp({ ...options, qmp: this.qmp, dir: this.dir })
    made.drives.push(...began)
    return made
  }

  check(backup: Backup): void {
    for (const [index, drive] of backup.drives.entries())
      assert.ok(contentOf(backup, index).equals(drive), `${DRIVES[index]} is that of the point in time`)
  }
}

/** Makes an archive of a machine. */
export async function backUp(options: BackupOptions & { qmp: string; dir: string }): Promise<Backup> {
  const { qmp, dir, since = null, mode = 'guarded', target = 'a', uuid } = options
  const clusters = [new Map(), new Map()]
  const made: Backup = { uuid: Buffer.alloc(16), clusters, drives: [], parent: since, reasons: {} }
  const to = join(dir, target, 'vm.vmi')
  await definePipeline([
    guestSource({ qmp, mode, track: true, ...(uuid !== undefined && { uuid }) }),
    writeInterceptor(),
    ...(since === null ? [] : [against(since, made)]),
    collector(made, { ...options, to }),
  ]).run()
  return made
}

/** What the chain of an archive gives. */
function contentOf({ clusters, parent }: Backup, drive: number): Buffer {
  const content = parent === null ? Buffer.alloc(SIZE) : contentOf(parent, drive)
  for (const [cluster, bytes] of clusters[drive]) bytes.copy(content, cluster * CLUSTER_SIZE)
  return content
}

const any = z.any()

/** Stands for the stage that drops unchanged clusters: it drops none, and so shows what was read. */
function against(since: Backup, made: Backup) {
  const drive = () => ({ clusters: clusterCount(SIZE) })
  return defineStage({
    ...{ name: 'change-filter', summary: 'for a test', input: 'clusters', output: 'clusters', options: any },
    create: () => ({
      transform(item: any, push: (item: any) => void) {
        if (item instanceof Manifest) Object.assign(made.reasons, item.record?.whole)
        push(item)
      },
    }),
  })({ against: { record: { uuid: since.uuid }, drive } })
}

function collector(made: Backup, { to, fails, meanwhile, publish }: BackupOptions & { to: string }) {
  let begun = false
  return defineStage({
    ...{ name: 'collector', summary: 'for a test', input: 'clusters', output: 'nothing', options: any },
    destination: () => ({ place: to, force: false }),
    create: () => ({
      async write(item: Manifest | Run) {
        if (item instanceof Manifest) {
          made.uuid = item.uuid
          return
        }
        if (!begun) await meanwhile?.()
        begun = true
        keep(made.clusters[item.drive - 1], item)
        item.release()
      },
      async close() {
        if (fails) throw new Error('the archive cannot be written')
        publish?.(made)
      },
    }),
  } as any)({})
}

function keep(clusters: Map<number, Buffer>, { first, count, blocks, isZero }: Run): void {
  const bytes = isZero ? Buffer.alloc(count * CLUSTER_SIZE) : Buffer.concat(blocks as Uint8Array[])
  for (let cluster = 0; cluster < count; cluster++) {
    assert.ok(!clusters.has(first + cluster), `cluster ${first + cluster} comes once`)
    clusters.set(first + cluster, Buffer.from(bytes.subarray(cluster * CLUSTER_SIZE, (cluster + 1) * CLUSTER_SIZE)))
  }
}
