/** Ways to back up drives that are written to, ours and those that QEMU itself offers. */

import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { definePipeline } from '../../src/core/pipeline.ts'
import type { Attachment } from '../../src/live/qemu/attachment/attachment.ts'
import type { Command } from '../../src/live/qemu/attachment/commands.ts'
import { GuardedPush } from '../../src/live/qemu/attachment/guarded-push.ts'
import { PlainPush } from '../../src/live/qemu/attachment/plain-push.ts'
import type { QemuConnection } from '../../src/live/qemu/connection.ts'
import { PushBackup } from '../../src/live/qemu/push-backup.ts'
import { PushServer } from '../../src/live/qemu/push-server.ts'
import type { QmpClient } from '../../src/protocol/qmp/client.ts'
import { clusterSource } from '../../src/stages/cluster-source.ts'
import { sink } from '../../src/stages/sink.ts'
import { vmaFramer } from '../../src/stages/vma-framer.ts'
import { writeInterceptor } from '../../src/stages/write-interceptor.ts'
import { zeroElider } from '../../src/stages/zero-elider.ts'
import type { Drives } from './drives.ts'

const run = promisify(execFile)

const BUFFER = 64 << 20
const MAX_STALL_MS = 10_000
const QEMU_TIMEOUT_S = 4

/** Resolves when the backup is there and nothing of it is left in QEMU; `begun` is called at the point in time. */
export type Way = (drives: Drives, folder: string, begun: () => void) => Promise<void>

export const WAYS: Record<string, Way> = {
  'guarded push': (drives, folder, begun) =>
    ours(drives, folder, begun, ({ pushSocket }) => guarded(drives, pushSocket)),
  'plain push': (drives, folder, begun) =>
    ours(drives, folder, begun, ({ pushSocket }) => new PlainPush({ drives: drives.drives, pushSocket })),
  'blockdev-backup to raw files': jobs,
  'fleecing: a qcow2 of old data, and nbdcopy': fleecing,
}

async function ours(at: Drives, folder: string, begun: () => void, attach: (server: PushServer) => Attachment) {
  const { qmp, drives } = at
  const connection = {
    ...{ qmp, isShuttingDown: false, gone: new Promise(() => {}) },
    lastly: (work: (client: QmpClient) => Promise<void>) => work(qmp),
  } as unknown as QemuConnection
  const server = await PushServer.create({ parent: folder })
  const warnings: string[] = []
  try {
    const attachment = attach(server)
    const insert: Attachment['insert'] = async (...args) => {
      await attachment.insert(...args)
      begun()
    }
    const told = { insert, pull: () => attachment.pull(), remove: (client: QmpClient) => attachment.remove(client) }
    const backup = new PushBackup({ drives, connection, attachment: told, maxStall: MAX_STALL_MS })
    await server.offer(backup.targets)
    const stages = [
      clusterSource({ drives: backup.readers }),
      backup.courtesy,
      writeInterceptor({ guest: backup.guest }),
      ...[zeroElider(), vmaFramer(), sink({ to: join(folder, 'out.vma'), force: true })],
    ]
    const warn = (message: string) => warnings.push(message)
    await definePipeline(stages).run({ buffer: BUFFER, signal: backup.signal, warn })
    if (warnings.length > 0) throw new Error(warnings.join())
  } finally {
    await server.close()
  }
}

function guarded({ drives, guest, socket }: Drives, pushSocket: string): Attachment {
  const push = new GuardedPush({ drives, guest, pushSocket, pullSocket: socket, timeout: QEMU_TIMEOUT_S })
  return {
    insert: (qmp) => push.insert(qmp),
    pull: () => push.pull(),
    // The filters stay where the storage daemon has nobody who could be asked what they were put in for.
    async remove(qmp) {
      await push.remove(qmp).catch(() => {})
      for (const { device, node } of drives) await qmp.execute(...guest.attach(device, node))
      await push.remove(qmp)
    },
  }
}

async function jobs({ qmp, drives }: Drives, folder: string, begun: () => void): Promise<void> {
  const targets = drives.map((_, index) => `copy${index}`)
  for (const [index, { size }] of drives.entries()) {
    const filename = join(folder, `copy${index}.raw`)
    await run('truncate', ['-s', String(size), filename])
    const file = { driver: 'file', filename, discard: 'unmap' }
    await qmp.execute('blockdev-add', { driver: 'raw', 'node-name': targets[index], file })
  }
  const actions = drives.map(({ node }, index) => ({
    type: 'blockdev-backup',
    data: { 'job-id': `job${index}`, device: node, target: targets[index], sync: 'full' },
  }))
  await qmp.execute('transaction', { actions })
  begun()
  while ((await qmp.execute<unknown[]>('query-jobs')).length > 0) await sleep(10)
  await all(qmp, targets.map(deletion))
}

async function fleecing(at: Drives, folder: string, begun: () => void): Promise<void> {
  const { qmp, drives, guest, socket } = at
  const names = drives.map((_, index) => ({
    old: `old${index}`,
    filter: `filter${index}`,
    snapshot: `snapshot${index}`,
  }))
  for (const [index, { node, device, size }] of drives.entries()) {
    const { old, filter, snapshot } = names[index]
    const filename = join(folder, `${old}.qcow2`)
    await run('qemu-img', ['create', '-q', '-f', 'qcow2', filename, String(size)])
    await all(qmp, [
      ['blockdev-add', { driver: 'qcow2', 'node-name': old, file: { driver: 'file', filename } }],
      ['blockdev-add', { driver: 'copy-before-write', 'node-name': filter, file: node, target: old }],
      guest.attach(device, filter),
      ['blockdev-add', { driver: 'snapshot-access', 'node-name': snapshot, file: filter }],
      ['block-export-add', { type: 'nbd', id: snapshot, 'node-name': snapshot }],
    ])
  }
  begun()
  const copies = names.map(({ snapshot }, index) =>
    run('nbdcopy', [`nbd+unix:///${snapshot}?socket=${socket}`, join(folder, `copy${index}.raw`)]),
  )
  await Promise.all(copies)
  for (const { snapshot } of names) {
    const gone = qmp.waitFor('BLOCK_EXPORT_DELETED', ({ id }) => id === snapshot)
    await qmp.execute('block-export-del', { id: snapshot, mode: 'hard' })
    await gone
  }
  await all(
    qmp,
    names.map(({ snapshot }) => deletion(snapshot)),
  )
  await at.detach()
  await all(
    qmp,
    names.flatMap(({ filter, old }) => [deletion(filter), deletion(old)]),
  )
}

async function all(qmp: QmpClient, commands: Command[]): Promise<void> {
  for (const command of commands) await qmp.execute(...command)
}

function deletion(node: string): Command {
  return ['blockdev-del', { 'node-name': node }]
}
