/** Where a host of Proxmox has what belongs to a guest. */

import { readFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { VmapipeError } from '../../core/errors.ts'

export interface ProxmoxPlaces {
  config: string
  firewall: string
  storages: string
  /** The cluster, if the host is in one. */
  cluster: string
  qmp: string
  agent: string
  pid: string
}

export function placesOf(vmid: number): ProxmoxPlaces {
  return {
    config: `/etc/pve/qemu-server/${vmid}.conf`,
    firewall: `/etc/pve/firewall/${vmid}.fw`,
    storages: '/etc/pve/storage.cfg',
    cluster: '/etc/pve/corosync.conf',
    qmp: `/var/run/qemu-server/${vmid}.qmp`,
    agent: `/var/run/qemu-server/${vmid}.qga`,
    pid: `/var/run/qemu-server/${vmid}.pid`,
  }
}

/** Whether somebody takes connections there. A socket whose queue is full has somebody, and so has one that we may not use. */
export function isListening(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ path })
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', ({ code }: NodeJS.ErrnoException) => resolve(code !== 'ENOENT' && code !== 'ECONNREFUSED'))
  })
}

/**
 * Whether the guest runs. Throws FAILED if its QEMU runs without a monitor, as a backup of its images would be torn.
 * `given`: the monitor that the user named, which has to be there.
 */
export async function isRunning(vmid: number, given: string | undefined): Promise<boolean> {
  const { qmp, pid } = placesOf(vmid)
  if (await isListening(given ?? qmp)) return true
  if (given !== undefined) {
    throw new VmapipeError('FAILED', 'no QEMU listens on this socket', {
      file: given,
      hint: 'leave --qmp out if the guest is switched off',
    })
  }
  const number = Number(await readFile(pid, 'utf8').catch(() => ''))
  if (!Number.isInteger(number) || number <= 0 || !(await isQemuOf(number, vmid))) return false
  throw new VmapipeError(
    'FAILED',
    `the QEMU of guest ${vmid} runs (process ${number}), but nothing listens on its monitor`,
    {
      file: qmp,
      hint: 'name its monitor, --qmp SOCKET',
    },
  )
}

/** A process number may be another process's by now. */
async function isQemuOf(pid: number, vmid: number): Promise<boolean> {
  const words = (await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')).split('\0')
  return words[words.indexOf('-id') + 1] === String(vmid) && words.includes('-id')
}
