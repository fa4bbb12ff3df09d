/** Which guest of a stock QEMU an operation is about. */

import { abortSignal, callback, type Shape, text } from '../core/options.ts'

/** Which QEMU, and how it is reached. */
export interface MonitorOptions {
  /** QMP socket of the guest's QEMU. Either this or `libvirt`. */
  qmp?: string
  /** The guest by its name in libvirt, through virsh. */
  libvirt?: string
  /** URI of that libvirt; virsh's own choice unless given. */
  connect?: string
  /** Aborts the operation. */
  signal?: AbortSignal
  /** Takes one line for the user that is not an error. */
  warn?: (message: string) => void
}

export const monitorShape = {
  qmp: text,
  libvirt: text,
  connect: text,
  signal: abortSignal,
  warn: callback,
} satisfies Shape<MonitorOptions>
