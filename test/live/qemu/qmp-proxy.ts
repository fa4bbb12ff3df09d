/** Between a backup and its QEMU: what is done to the guest at one moment of the backup, a test does here. */

import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { tmpDir } from '../../support/tmp.ts'

type Hooks = { after(hook: () => void): void }

/** A socket like that of `qmp`. Each command waits until `before` is through with it; the connection ends if that throws. */
export async function qmpProxy(t: Hooks, qmp: string, before: (command: any) => Promise<void>): Promise<string> {
  const path = join(tmpDir(t), 'qmp')
  const sockets: Socket[] = []
  const server = createServer((client) => {
    const qemu = connect(qmp)
    sockets.push(client, qemu)
    for (const [socket, other] of [
      [client, qemu],
      [qemu, client],
    ]) {
      socket.on('error', () => {})
      socket.on('close', () => other.destroy())
    }
    qemu.pipe(client)
    forward(client, qemu, before).catch(() => client.destroy())
  })
  server.listen(path)
  await once(server, 'listening')
  t.after(() => {
    server.close()
    for (const socket of sockets) socket.destroy()
  })
  return path
}

async function forward(client: Socket, qemu: Socket, before: (command: any) => Promise<void>): Promise<void> {
  for await (const line of createInterface(client)) {
    await before(JSON.parse(line))
    qemu.write(`${line}\n`)
  }
}
