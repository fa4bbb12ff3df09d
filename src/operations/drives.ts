/** Which drives the guest of a stock QEMU has. */

import { checkOptions } from '../core/options.ts'
import { discover, type Inventory } from '../live/qemu/inventory/discovery.ts'
import { type MonitorPlace, openMonitor } from '../live/qemu/monitor.ts'
import { type MonitorOptions, monitorShape } from './monitor-options.ts'

/**
 * The drives under the names that they have in a backup, and those that a backup leaves out, with the reason. Nothing is
 * changed. Errors: USAGE, FAILED, ABORTED.
 *
 *     const inventory = await drives({ qmp: '/run/vm1.qmp' })
 *     console.log(inventory.drives.map(({ name, size }) => `${name}: ${size} bytes`))
 */
export async function drives(options: MonitorOptions): Promise<Inventory> {
  checkOptions('drives', { shape: monitorShape }, options)
  return askInventory(options, options)
}

/** Connects to the QEMU, asks which drives it has, and leaves. */
export async function askInventory(
  place: MonitorPlace,
  { signal, warn }: Pick<MonitorOptions, 'signal' | 'warn'>,
): Promise<Inventory> {
  const monitor = await openMonitor(place, { signal, warn })
  const close = () => monitor.close()
  signal?.addEventListener('abort', close, { once: true })
  try {
    return await discover(monitor)
  } finally {
    signal?.removeEventListener('abort', close)
    close()
  }
}
