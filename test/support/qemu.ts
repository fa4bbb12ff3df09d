/** A stock QEMU, or its storage daemon, with a QMP socket; it ends with the test. */

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { firmwareArgs, INSTALLED, type QemuBuild, qemuProgram } from './qemu-builds.ts'
import { tmpDir } from './tmp.ts'

type Hooks = { after(hook: () => void | Promise<void>): void }

const ANSWER_MS = 5_000

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
  const end = async () => {
    child.kill('SIGKILL')
    await gone
  }
  t.after(end)
  while (!isListening(qmp)) {
    if (child.exitCode !== null) throw new Error(`${program} ended: ${said}`)
    await sleep(10)
  }
  if (await answers(qmp)) return { qmp, child }
  if (child.exitCode !== null) throw new Error(`${program} ended: ${said}`)
  await end()
  return start(t, program, args, qmp)
}

/**
 * Whether the monitor answers. One start in some thousands of QEMU 7.2 never does: who connects while it is starting
 * gets the greeting, and its dispatcher sleeps for good.
 */
async function answers(qmp: string): Promise<boolean> {
  const socket = connect(qmp, () => socket.write('{"execute": "qmp_capabilities"}\n'))
  // Its end says all.
  socket.on('error', () => {})
  try {
    const lines = createInterface(socket)[Symbol.asyncIterator]()
    const both = lines.next().then(() => lines.next())
    return await Promise.race([both.then(({ done }) => !done), sleep(ANSWER_MS, false, { ref: false })])
  } finally {
    socket.destroy()
  }
}

/** Whether somebody takes connections there: the file is there before. Without one, as QEMU's monitor takes one at a time. */
export function isListening(path: string): boolean {
  const ACCEPTING = '00010000' // unix(7), /proc/net/unix: Flags
  const sockets = readFileSync('/proc/net/unix', 'latin1').split('\n')
  return sockets.some((line) => line.endsWith(` ${path}`) && line.split(' ')[3] === ACCEPTING)
}
