/**
 * Proves that a guest boots from its archive. Nothing is restored: QEMU reads the drives of the archive as NBD exports, and what the guest
 * writes goes into an overlay that is thrown away. The guest has no network, no file and no device of this host.
 */

import { availableParallelism, freemem } from 'node:os'
import type { Archive } from '../../access/archive.ts'
import { Budget } from '../../core/budget.ts'
import { typableName, VmapipeError } from '../../core/errors.ts'
import { atLeastOne, callback, checkOptions, type Shape, text } from '../../core/options.ts'
import { DEFAULT_BUDGET } from '../../core/run-options.ts'
import { formatBytes } from '../../core/size.ts'
import { z } from '../../core/stage.ts'
import { Service } from '../../live/service.ts'
import type { Machine, MachineDisk } from '../../machine/machine.ts'
import type { Note } from '../../machine/qemu/values.ts'
import type { Disk } from '../../storage/disk.ts'
import { openExport } from '../export.ts'
import { openArchive } from '../open-archive.ts'
import { type RandomReadingOptions, randomReadingShape } from '../random-reading.ts'
import { type Accelerator, withAccelerator } from './accelerator.ts'
import { type BootArguments, boardKind, bootArguments } from './arguments.ts'
import { guestMachine, type MachineChoices } from './guest-machine.ts'
import { findQemu, limitedUser } from './program.ts'
import { Scratch } from './scratch.ts'
import { encodePng } from './screen.ts'
import { type BootTrial, tryBoot } from './try-boot.ts'
import { writeVariables } from './variables.ts'

/** Which archive, and what counts as a boot. */
export interface BootOptions extends RandomReadingOptions, MachineChoices {
  /** Proven when a line of the guest's first serial console matches. The guest agent always counts. */
  pattern?: RegExp
  /**
   * Proven when the screen has been still for so many milliseconds and answers a key; 30 s unless given, and 0 for never. With
   * `pattern`, never unless given.
   */
  still?: number
  /** Milliseconds for the boot; 5 minutes by default. */
  limit?: number
  /** The most bytes of memory of the guest; 2 GiB by default, and never more than the guest had. */
  memory?: number
  /** The most bytes that the guest may write; 4 GiB by default. */
  scratchSize?: number
  /** The folder for what the guest writes; that for temporary files by default. */
  scratch?: string
  /** KVM if this host has it, by default. */
  accel?: Accelerator | 'auto'
  /** Takes one line about what is being done. */
  inform?: (message: string) => void
}

/** What came of it. */
export interface BootResult {
  passed: boolean
  /** One line, such as "the guest agent answered after 12 s". */
  detail: string
  /** When it ended, as ISO 8601. */
  at: string
  /** The screen at the end, as PNG; null if there was none. */
  screen: Buffer | null
}

const shape = {
  ...randomReadingShape,
  pattern: z.instanceof(RegExp),
  still: z.int().min(0),
  limit: atLeastOne,
  memory: z.int().min(16 << 20),
  scratchSize: atLeastOne,
  scratch: text,
  accel: z.enum(['auto', 'kvm', 'tcg']),
  firmware: z.enum(['bios', 'uefi']),
  bus: z.enum(['ide', 'sata', 'scsi', 'virtio', 'nvme', 'usb']),
  inform: callback,
} satisfies Shape<BootOptions>

const MINUTE = 60_000
const GiB = 2 ** 30
const STILL_MS = 30_000
/** Processors of the guest at most: a boot uses few. */
const MOST_PROCESSORS = 4

/**
 * Boots the guest of an archive, and resolves with what came of it, also if it does not boot. Errors: FAILED if it cannot be tried, as
 * without QEMU; USAGE, DAMAGED, INCOMPLETE, ABORTED as for other operations.
 *
 *     const { passed, detail } = await bootArchive({ from: 'vm.vma.zst' })
 *     console.log(passed ? 'it boots:' : 'it does not boot:', detail)
 */
export async function bootArchive(options: BootOptions): Promise<BootResult> {
  checkOptions('bootArchive', { shape, required: ['from'] }, options)
  const { from, parents, spool, keys, buffer = DEFAULT_BUDGET, signal, warn = () => {} } = options
  const program = findQemu()
  const user = limitedUser()
  const archive = await openArchive(from, { budget: new Budget(buffer), parents, spool, keys, signal, warn })
  try {
    return await withAccelerator(options.accel, warn, async (accel) => {
      // Each try has its own: what the guest has written in one is not on its disks in the next.
      const scratch = await Scratch.make(options.scratch, user)
      try {
        return await boot(archive, { ...options, accel, scratch, program, user })
      } finally {
        await scratch.remove()
      }
    })
  } finally {
    await archive.close()
  }
}

type Tools = Omit<BootOptions, 'scratch' | 'accel'> &
  Pick<BootTrial, 'program' | 'user'> & { scratch: Scratch; accel: Accelerator }

async function boot(archive: Archive, { scratch, program, user, accel, ...options }: Tools): Promise<BootResult> {
  const { warn = () => {}, inform = () => {}, signal, pattern, limit = 5 * MINUTE, scratchSize = 4 * GiB } = options
  const machine = await guestMachine(archive, options)
  refuseOtherKinds(machine)
  const disks = await openDisks(archive, machine.disks, scratch)
  const socket = scratch.shared('nbd')
  const service = new Service({
    drives: Object.fromEntries(disks),
    socket,
    ...(user !== null && { socketAccess: { owner: user.uid } }),
  })
  try {
    const uefi = machine.firmware?.kind === 'uefi' ? await uefiOf(archive, machine, scratch, warn) : undefined
    const memory = memoryOf(machine, options.memory)
    const processors = Math.min(MOST_PROCESSORS, availableParallelism(), processorsOf(machine))
    const how = accel === 'kvm' ? 'by KVM' : 'emulated'
    const kind = uefi === undefined ? 'BIOS' : 'UEFI'
    inform(
      `the guest starts, ${how}: ${kind}, ${formatBytes(memory)} of memory, ${processors} processors, ${disks.size} drives`,
    )
    const args = bootArguments(machine, {
      accel,
      memory,
      processors,
      socket,
      exports: [...disks].map(([name, { size }]) => ({ drive: name, file: typableName(name), size })),
      uefi,
      note: warn,
    })
    await service.start()
    const still = options.still ?? (pattern === undefined ? STILL_MS : 0)
    const screenFile = await scratch.fileForQemu('screen')
    const trial = { program, user, screenFile, pattern, limit, scratch, scratchSize, signal, still: still || undefined }
    const { screen, ...verdict } = await tryBoot({ ...trial, args })
    return { ...verdict, at: new Date().toISOString(), screen: screen && encodePng(screen) }
  } finally {
    await service.stop().catch(() => {})
    for (const disk of disks.values()) await disk.close()
  }
}

/** Every drive that the machine has as a disk, writable by way of an overlay. */
async function openDisks(
  archive: Archive,
  wanted: readonly MachineDisk[],
  scratch: Scratch,
): Promise<Map<string, Disk>> {
  const disks = new Map<string, Disk>()
  for (const drive of archive.manifest.drives) {
    if (!wanted.some((disk) => disk.drive === drive.name)) continue
    disks.set(drive.name, await openExport(archive, drive, scratch.written))
  }
  if (disks.size > 0) return disks
  throw new VmapipeError('USAGE', 'the archive has no drive that the guest could boot from')
}

function refuseOtherKinds({ arch }: Machine): void {
  if (arch === undefined || ['x86_64', 'i386', 'i686'].includes(arch)) return
  throw new VmapipeError('FAILED', `the guest is of the architecture ${arch}, and only x86_64 can be booted`)
}

/** Bytes: what the guest had, the limit, and what this host can spare. */
function memoryOf({ memory = GiB }: Machine, limit = 2 * GiB): number {
  const free = Math.floor(freemem() * 0.8)
  const given = Math.min(memory, limit)
  if (given <= free) return given
  throw new VmapipeError('FAILED', `this host has ${free >> 20} MiB of memory for a guest of ${given >> 20} MiB`, {
    hint: 'give a smaller --memory, or wait until more is free',
  })
}

function processorsOf({ cpu }: Machine): number {
  return Math.max(1, (cpu?.sockets ?? 1) * (cpu?.cores ?? 1) * (cpu?.threads ?? 1))
}

/** The code and a copy of the variables, which QEMU may write. */
async function uefiOf(
  archive: Archive,
  machine: Machine,
  scratch: Scratch,
  note: Note,
): Promise<BootArguments['uefi']> {
  const variables = await scratch.fileForQemu('variables')
  const firmware = await writeVariables(archive, machine, { board: boardKind(machine), file: variables, note })
  return { variables, firmware }
}
