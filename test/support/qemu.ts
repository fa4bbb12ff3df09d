/** A stock QEMU, or its storage daemon, with a QMP socket; it ends with the test. */

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { firmwareArgs, INSTALLED, type QemuBuild, qemuProgram } from './qemu-builds.ts'
import { tmpDir } from './tmp.ts'

type Hooks = { after(hook: () => void | Promise<void>): void }

export interface StockQemu {
  qmp: string
  child: ChildProcess
}

/** A paused machine without a guest in it; `args` bring its drives. Give the suite's hooks where tests share it. */
export function startQemu(t: Hooks, args: readonly string[], build = INSTALLED): Promise<StockQemu> {
  const qmp = join(tmpDir(t), 'qmp')
  const machine = [...firmwareArgs(build), '-S', '-accel', 'tcg', '-m', '64', '-nodefaults', '-display', 'none']
  const program = qemuProgram(build, 'qemu-system-x86_64')
  // Last of all: who can connect there can connect to every monitor of `args`.
  return start(t, program, [...machine, ...args, '-qmp', `unix:${qmp},server=on,wait=off`], qmp)
}

/** The same block nodes, jobs and exports, without a machine. */
export function startStorageDaemon(
  t: Hooks,
  args: readonly string[] = [],
  build: QemuBuild = INSTALLED,
): Promise<StockQemu> {
  const qmp = join(tmpDir(t), 'qmp')
  const monitor = ['--chardev', `socket,id=m,path=${qmp},server=on,wait=off`, '--monitor', 'm']
  return start(t, qemuProgram(build, 'qemu-storage-daemon'), [...args, ...monitor], qmp)
}

async function start(t: Hooks, program: string, args: readonly string[], qmp: string): Promise<StockQemu> {
  const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'pipe'] })
  let said = ''
  child.stderr.on('data', (text) => {
    said += text
  })
  const gone = once(child, 'close')
  t.after(async () => {
    child.kill('SIGKILL')
    await gone
  })
  while (!isListening(qmp)) {
    if (child.exitCode !== null) throw new Error(`${program} ended: ${said}`)
    await sleep(10)
  }
  return { qmp, child }
}

/** Whether somebody takes connections there: the file is there before. Without one, as QEMU's monitor takes one at a time. */
function isListening(path: string): boolean {
  const ACCEPTING = '00010000' // unix(7), /proc/net/unix: Flags
  const sockets = readFileSync('/proc/net/unix', 'latin1').split('\n')
  return sockets.some((line) => line.endsWith(` ${path}`) && line.split(' ')[3] === ACCEPTING)
}
