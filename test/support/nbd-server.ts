/** Real NBD servers for tests, on a unix socket in a folder of the test. */

import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import type { TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'

/** Starts a server and waits for its socket; it ends with the test. */
export async function startServer(
  t: Pick<TestContext, 'after'>,
  command: string,
  args: readonly string[],
  socket: string,
): Promise<string> {
  const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'pipe'] })
  let said = ''
  child.stderr.on('data', (text) => {
    said += text
  })
  t.after(() => child.kill('SIGKILL'))
  for (let i = 0; i < 1000 && child.exitCode === null; i++) {
    if (existsSync(socket)) return `nbd+unix:///?socket=${encodeURIComponent(socket)}`
    await sleep(5)
  }
  throw new Error(`${command} did not start: ${said}`)
}

export function qemuNbd(t: Pick<TestContext, 'after'>, socket: string, args: readonly string[]): Promise<string> {
  return startServer(t, 'qemu-nbd', ['--persistent', '--shared=4', `--socket=${socket}`, ...args], socket)
}

export function nbdkit(t: Pick<TestContext, 'after'>, socket: string, args: readonly string[]): Promise<string> {
  return startServer(t, 'nbdkit', ['--foreground', '--exit-with-parent', '--unix', socket, ...args], socket)
}
