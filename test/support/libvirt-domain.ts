/** The XML of a small guest of libvirt, which boots by itself from its first disk and runs the system of its second. */

import { spawn } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Console } from './guest/console.ts'
import type { Libvirt } from './libvirt.ts'
import { tmpDir } from './tmp.ts'
import { which } from './tools.ts'

export interface DomainWish {
  name: string
  /** Of vda, vdb, …: their images. */
  disks: readonly { file: string; format?: string; more?: string }[]
  uefi?: boolean
  tpm?: boolean
  /** More devices. */
  more?: string
}

export function domainXml({ name, disks, uefi = false, tpm = false, more = '' }: DomainWish): string {
  const drives = disks.map(
    ({ file, format = 'raw', more = '' }, index) => `<disk type='file' device='disk'>
      <driver name='qemu' type='${format}' discard='unmap'/><source file='${file}'/>
      <target dev='vd${'abcdef'[index]}' bus='virtio'/>${more}</disk>`,
  )
  return `<domain type='qemu'><name>${name}</name><memory unit='MiB'>256</memory><vcpu>1</vcpu>
    <os${uefi ? " firmware='efi'" : ''}><type arch='x86_64' machine='${uefi ? 'q35' : 'pc'}'>hvm</type>
      ${uefi ? "<firmware><feature enabled='no' name='secure-boot'/></firmware>" : ''}<boot dev='hd'/></os>
    <features><acpi/></features><cpu mode='custom'><model>qemu64</model></cpu>
    <devices><emulator>${which('qemu-system-x86_64')}</emulator>${drives.join('')}
      ${tpm ? "<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>" : ''}
      <interface type='user'><mac address='52:54:00:12:34:56'/><model type='virtio'/></interface>
      <serial type='pty'><target port='0'/></serial>${more}</devices></domain>`
}

/** The console of a domain that has just been started: libvirt's terminal, which nobody else reads. */
export async function consoleOf(
  t: { after(hook: () => void): void },
  libvirt: Libvirt,
  domain: string,
): Promise<Console> {
  // It is listed before it has one.
  let terminal = ''
  for (let look = 0; terminal === '' && look < 600; look++) {
    if (look > 0) await sleep(100)
    terminal = (await libvirt.virsh('ttyconsole', domain).catch(() => '')).trim()
  }
  const log = join(tmpDir(t), 'console')
  const fd = openSync(log, 'a')
  const reader = spawn('cat', [terminal], { stdio: ['ignore', fd, 'ignore'] })
  closeSync(fd)
  t.after(() => reader.kill('SIGKILL'))
  const console = new Console(log)
  t.after(() => console.close())
  return console
}
