/** The monitor of a guest's QEMU: by its QMP socket, or through libvirt. */

import { VmapipeError } from '../../core/errors.ts'
import { QmpClient } from '../../protocol/qmp/client.ts'

export interface MonitorPlace {
  /** Path of a QMP socket. */
  qmp?: string
  /** Other programs use this socket too: it is let go between commands. */
  shared?: boolean
  /** Name of a libvirt domain. */
  libvirt?: string
  /** URI of its libvirt; virsh's own choice by default. */
  connect?: string
}

export interface MonitorOptions {
  signal?: AbortSignal
  warn?: (message: string) => void
}

/** USAGE unless exactly one place is named. */
export async function openMonitor(
  { qmp, shared, libvirt, connect }: MonitorPlace,
  options: MonitorOptions = {},
): Promise<QmpClient> {
  const { signal, warn } = options
  if ((qmp === undefined) === (libvirt === undefined)) {
    throw new VmapipeError('USAGE', 'nothing says where the guest is', {
      hint: 'give either --qmp SOCKET or --libvirt DOMAIN',
    })
  }
  if (connect !== undefined && libvirt === undefined)
    throw new VmapipeError('USAGE', 'only libvirt has a URI to connect to', { hint: 'give --libvirt DOMAIN with it' })
  if (qmp !== undefined) return shared ? QmpClient.shared(qmp, { signal }) : QmpClient.connect(qmp, { signal })
  const client = await QmpClient.libvirt(libvirt!, { signal, connect })
  warn?.(`libvirt marks the domain ${libvirt} as tainted (custom-monitor) from now on, until it is started again`)
  return client
}
