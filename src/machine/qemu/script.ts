/**
 * `run.sh`: a shell script that boots a guest again from the images beside it. It is a draft for a person to read. No value of the
 * archive gets into it but in single quotes, after it was checked (values.ts).
 */

import type { Machine } from '../machine.ts'
import { diskArguments, type ScriptImage } from './disks.ts'
import { firmwareLines, secureOptions } from './firmware.ts'
import { networkArguments } from './networks.ts'
import { boardOf, cpuOf, memoryOf, nameOf, processorsOf, quoted, shown } from './values.ts'

export const RUN_SH = 'run.sh'

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i

interface Script {
  text: string
  /** One line for each thing that is left out or not as it was. */
  notes: string[]
}

/** `images`: the files of the folder, by drive or config file. */
export function qemuScript(machine: Machine, images: readonly ScriptImage[]): Script {
  const notes: string[] = []
  const note = (text: string) => notes.push(text)
  if (machine.arch !== undefined && !['x86_64', 'i386', 'i686'].includes(machine.arch))
    note(`the guest is of the architecture ${shown(machine.arch)}: the script is for x86_64, and must be changed`)
  const board = boardOf(machine, note)
  const { firmware } = machine
  const variables = images.find(({ drive }) => drive === firmware?.variables) ?? null
  const building = { board, note, variables }
  if (machine.tpm !== undefined)
    note('the guest had a TPM: it is left out; start swtpm and add it, if the guest needs it')
  const devices = [...diskArguments(machine, images, building), ...networkArguments(machine, note)]
  const lines = [
    `NAME=${quoted(nameOf(machine))}`,
    variable('MACHINE', board),
    variable('ACCEL', 'kvm:tcg', 'KVM, and without it emulation'),
    variable('CPU', cpuOf(machine, note)),
    variable('PROCESSORS', processorsOf(machine, note)),
    variable('MEMORY', memoryOf(machine, note)),
    variable('DISPLAY_KIND', 'none', 'or gtk, or vnc=127.0.0.1:0'),
    variable('SERIAL', 'mon:stdio', "the guest's console, with QEMU's monitor behind Ctrl-A C"),
    variable('QEMU', 'qemu-system-x86_64'),
    '',
    'set -- -name "guest=$NAME" -nodefaults "$@"',
    `set -- "$@" -machine "$MACHINE,accel=$ACCEL${secureOptions(firmware, board)}" -cpu "$CPU" -smp "$PROCESSORS" -m "$MEMORY"`,
    ...(machine.uuid !== undefined && UUID.test(machine.uuid)
      ? [`set -- "$@" -uuid ${machine.uuid.toLowerCase()}`]
      : []),
    '',
    ...firmwareLines(firmware, building),
    '# Disks, and network cards on a network of user mode: the guest reaches out, and nothing reaches in.',
    ...devices.map(([option, value]) => `set -- "$@" ${option} ${quoted(JSON.stringify(value))}`),
    '',
    "# The console, and sockets in this folder: QEMU's monitor, and the guest agent.",
    `set -- "$@" -serial "$SERIAL" -display "$DISPLAY_KIND" -device VGA`,
    `set -- "$@" -qmp 'unix:qmp.sock,server=on,wait=off'`,
    `set -- "$@" -chardev 'socket,id=agent,path=agent.sock,server=on,wait=off' -device virtio-serial-pci`,
    `set -- "$@" -device 'virtserialport,chardev=agent,name=org.qemu.guest_agent.0'`,
    '',
    'exec "$QEMU" "$@"',
  ]
  const changed = notes.length === 0 ? [] : ['# Not as it was:', ...notes.map((text) => `# - ${text}`)]
  return { text: [...HEAD, ...changed, '', 'set -eu', 'cd "$(dirname "$0")"', '', ...lines, ''].join('\n'), notes }
}

/** A line that sets a variable of the script, unless it is set from outside. `value` has no characters that mean something to a shell. */
function variable(name: string, value: string, about?: string): string {
  const line = `${name}=\${${name}:-${value}}`
  return about === undefined ? line : `${line.padEnd(34)} # ${about}`
}

const HEAD = [
  '#!/bin/sh',
  '# Boots the guest again from the images in this folder. Written by vmapipe from what the archive says of the guest.',
  '# It is a draft: read it first. The variables below can be set from outside; arguments go to QEMU.',
]
