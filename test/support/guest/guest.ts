/** A real guest for tests: QEMU with a distribution's kernel and an initramfs that plays the roles of init.sh. */

import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync } from 'node:fs'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { spawnTied } from '../../../src/system/child.ts'
import { INSTALLED, qemuProgram } from '../qemu-builds.ts'
import { tmpDir } from '../tmp.ts'
import { type Accelerator, accelerator } from './accelerator.ts'
import { Console } from './console.ts'
import { type GuestOptions, machine } from './machine.ts'

/** Two guests at once on a busy machine may take a minute. */
const BOOT_TIMEOUT = 180_000
const KVM_PROBE_TIMEOUT = 6_000

/** Starts it; it ends with the test, whatever happens. */
export async function startGuest(t: Pick<TestContext, 'after'>, options: GuestOptions): Promise<Guest> {
  return launch(t, options, await accelerator(() => bootsWithKvm(t)))
}

async function launch(t: Pick<TestContext, 'after'>, options: GuestOptions, accel: Accelerator): Promise<Guest> {
  const dir = tmpDir(t)
  const log = join(dir, 'console')
  // What QEMU itself has to say goes where the guest's words are: a failed test shows both.
  const fd = openSync(log, 'a')
  const args = machine({ log, initramfs: join(dir, 'initramfs') }, options, accel)
  const program = qemuProgram(options.qemu ?? INSTALLED, 'qemu-system-x86_64')
  const qemu = spawnTied(program, args, { stdio: ['pipe', 'ignore', fd] })
  closeSync(fd)
  t.after(() => qemu.kill('SIGKILL'))
  qemu.stdin!.on('error', () => {})
  await once(qemu, 'spawn')
  const console = new Console(log)
  t.after(() => console.close())
  return new Guest(qemu, console)
}

async function bootsWithKvm(t: Pick<TestContext, 'after'>): Promise<boolean> {
  const guest = await launch(t, { role: 'idle' }, 'kvm')
  try {
    await guest.waitFor('READY', KVM_PROBE_TIMEOUT)
    return true
  } catch {
    return false
  } finally {
    await guest.kill()
  }
}

export class Guest {
  readonly console: Console
  readonly #qemu: ChildProcess
  readonly #exit: Promise<unknown>

  constructor(qemu: ChildProcess, console: Console) {
    this.console = console
    this.#qemu = qemu
    this.#exit = once(qemu, 'exit')
  }

  /** QEMU's own process. */
  get pid(): number {
    return this.#qemu.pid!
  }

  /** Resolves when QEMU has ended, with its exit code and the signal that ended it. */
  get ended(): Promise<unknown> {
    return this.#exit
  }

  /** The first console line that matches `pattern`, now or later. */
  waitFor(pattern: string, timeoutMs = BOOT_TIMEOUT): Promise<RegExpExecArray> {
    const { console } = this
    return console.waitFor(pattern, timeoutMs, () => this.#qemu.exitCode !== null || this.#qemu.signalCode !== null)
  }

  /**
   * The last record known by now to be durable on all disks. The writer has begun one more at most; so for an instant
   * between two looks at this number, the first is `acked` and the second plus one is `begun`.
   */
  get acked(): number {
    return Number(this.console.matches('ACK (\\d+)').at(-1)?.[1] ?? 0)
  }

  /** Tells the role to end in good order, and waits until the machine is off. */
  async stop(): Promise<void> {
    this.#qemu.stdin!.write('stop\n')
    await this.poweredOff()
  }

  /** The machine switches itself off. */
  async poweredOff(timeoutMs = BOOT_TIMEOUT): Promise<void> {
    await Promise.race([this.#exit, sleep(timeoutMs, undefined, { ref: false })])
    const off = this.console.matches('reboot: Power down').length > 0
    if (!off) throw new Error(`the guest did not switch itself off:\n${this.console.tail()}`)
  }

  /** A power failure. */
  async kill(): Promise<void> {
    this.#qemu.kill('SIGKILL')
    await this.#exit
  }
}
