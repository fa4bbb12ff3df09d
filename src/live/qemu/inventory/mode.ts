/** Guarded push or plain push: what can be made safe in this QEMU, with these drives. */

import { VmapipeError } from '../../../core/errors.ts'
import type { QmpClient, QmpVersion } from '../../../protocol/qmp/client.ts'
import type { QemuDrive } from './discovery.ts'

type Mode = 'auto' | 'guarded' | 'push'

interface Choice {
  mode: 'guarded' | 'push'
  /** Why it is not guarded, if that was not asked for. */
  reason: string | null
}

/** Devices whose `drive` may be set while the guest runs (tried on 7.2 and 10.0). */
const SWITCHABLE = /^(virtio-blk|scsi-hd$|ide-hd$|nvme(-ns)?$)/

/** Throws FAILED if guarded push is asked for and cannot be made safe. */
export async function chooseMode(qmp: QmpClient, drives: readonly QemuDrive[], wanted: Mode): Promise<Choice> {
  if (wanted === 'push') return { mode: 'push', reason: null }
  const reason = obstacle(qmp.version, drives, await hasKvm(qmp))
  if (reason === null) return { mode: 'guarded', reason: null }
  if (wanted === 'auto') return { mode: 'push', reason }
  throw new VmapipeError('FAILED', reason, { hint: 'use --mode push, or auto, which does' })
}

function obstacle({ major, minor }: QmpVersion, drives: readonly QemuDrive[], kvm: boolean): string | null {
  const version = `QEMU ${major}.${minor}`
  if (major < 7 || (major === 7 && minor < 2)) return `${version} is older than 7.2, for which guarded push is made`
  for (const { name, type, iothread } of drives) {
    if (!SWITCHABLE.test(type))
      return `${name} is a ${type}, which may not let its node be switched while the guest runs`
    if (iothread === null) continue
    // 7.2: nbd_blockdev_client_closed asserts that it runs in the main loop.
    if (major < 10) return `${name} has an iothread: ${version} may abort when somebody stops reading an export of it`
    // 10.0.2: stop and cont, by themselves, lose requests of the guest within a few tries.
    if (!kvm) return `${name} has an iothread: without KVM ${version} may lose its requests when the guest is paused`
  }
  return null
}

async function hasKvm(qmp: QmpClient): Promise<boolean> {
  const { enabled } = await qmp.execute<{ enabled: boolean }>('query-kvm')
  return enabled
}
