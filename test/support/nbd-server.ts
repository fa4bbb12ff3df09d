/** Real NBD servers for tests, on a unix socket in a folder of the test. */

import { spawn } from 'node:child_process'
import { connect } from 'node:net'
import type { TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'

/** On a machine that has much else to do. */
const START_MS = 60_000

/** Starts a server and waits until it is ready; it ends with the test. */
export async function startServer(
  t: Pick<TestContext, 'after'>,
  command: string,
  args: readonly string[],
  isReady: () => boolean | Promise<boolean>,
): Promise<void> {
  const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'pipe'] })
  let said = ''
  child.stderr.on('data', (text) => {
    said += text
  })
  t.after(() => child.kill('SIGKILL'))
  for (const end = Date.now() + START_MS; Date.now() < end && child.exitCode === null; ) {
    if (await isReady()) return
    await sleep(5)
  }
  throw new Error(`${command} did not start: ${said}`)
}

export function qemuNbd(t: Pick<TestContext, 'after'>, socket: string, args: readonly string[]): Promise<string> {
  return onSocket(t, 'qemu-nbd', ['--persistent', '--shared=4', `--socket=${socket}`, ...args], socket)
}

export function nbdkit(t: Pick<TestContext, 'after'>, socket: string, args: readonly string[]): Promise<string> {
  return onSocket(t, 'nbdkit', ['--foreground', '--exit-with-parent', '--unix', socket, ...args], socket)
}

async function onSocket(t: Pick<TestContext, 'after'>, command: string, args: readonly string[], socket: string) {
  await startServer(t, command, args, () => isListening(socket))
  return `nbd+unix:///?socket=${encodeURIComponent(socket)}`
}

/** Whether a TCP port or a unix socket takes connections; the socket's file is there a moment before it does. */
export function isListening(where: number | string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = typeof where === 'number' ? connect(where, '127.0.0.1') : connect(where)
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false))
    socket.once('connect', () => socket.destroy())
  })
}
