/** A process of the topic `scale`, in a slow network or with one that it makes: sends backups by ssh. Prints what it measured, as JSON. */

import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { connect, createServer, type Socket } from 'node:net'
import { delimiter, join } from 'node:path'
import { SSH_HOST, startSshd } from '../../test/support/sshd.ts'
import { makeMixedImage } from '../images.ts'
import { alternate } from '../measure.ts'
import { guestWrites } from './guest-writes.ts'
import type { RelayedTask } from './shaped.ts'
import type { Transfers } from './slow-network.ts'

const DELAY_MS = 10

const task: RelayedTask = JSON.parse(process.argv[2])
const bytesAMs = task.rate / 1000
/** What is on its way at most: more than the network holds. */
const onItsWay = Math.max(2 ** 18, bytesAMs * DELAY_MS * 4)
const hooks: (() => unknown)[] = []
const sshd = await startSshd({ after: (hook) => void hooks.unshift(hook as () => unknown) })
try {
  if (task.relay) await throughRelay(mkdtempSync(join(task.folder, 'bin-')))
  console.log(JSON.stringify(task.job === 'guest' ? await guestWrites(task, sshd) : await transfers()))
} finally {
  for (const hook of hooks) await hook()
}
process.exit()

async function transfers(): Promise<Transfers> {
  const image = join(task.folder, 'network.raw')
  rmSync(image, { force: true })
  makeMixedImage(image, task.size)
  const place = (name: string) => `ssh://${SSH_HOST}/~/${name}`
  const backup = (name: string) => [...task.launcher, 'backup', '-d', `d=${image}`, '-o', place(name), '--quiet']
  const makes = (name: string) => [join(sshd.home, name)]
  const measured = await alternate(
    [
      { name: 'backup to ssh://', argv: backup('x.vma'), makes: makes('x.vma') },
      { name: 'backup to ssh://, zst', argv: backup('x.vma.zst'), makes: makes('x.vma.zst') },
      { name: 'dd | ssh cat', argv: [`dd if=${image} bs=4M | ssh ${SSH_HOST} 'cat > copy'`], makes: makes('copy') },
    ],
    task.runs,
    task.folder,
  )
  rmSync(image)
  const [ours, compressed, theirs] = measured.map(({ samples }) => samples.map(({ wall }) => wall))
  return { ours, compressed, theirs }
}

/** Puts an `ssh` in front of the other on the PATH, which goes through a relay that is slow. */
async function throughRelay(bin: string): Promise<void> {
  const server = createServer((near) => {
    const far = connect(sshd.port, '127.0.0.1')
    near.on('error', () => far.destroy())
    far.on('error', () => near.destroy())
    slowly(near, far)
    slowly(far, near)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  const [first] = sshd.path.split(delimiter)
  const flags = `-o Port=${port} -o 'HostKeyAlias=[127.0.0.1]:${sshd.port}'`
  writeFileSync(join(bin, 'ssh'), `#!/bin/sh\nexec '${first}/ssh' ${flags} "$@"\n`)
  chmodSync(join(bin, 'ssh'), 0o755)
  process.env.PATH = `${bin}${delimiter}${sshd.path}`
}

/** Passes on what comes at the rate of the network, each piece after the delay, in order. */
function slowly(from: Socket, to: Socket): void {
  const queue: { at: number; act: () => void }[] = []
  let free = 0
  let waiting = 0
  const pass = () => {
    while (queue.length > 0 && queue[0].at <= performance.now()) queue.shift()!.act()
    if (queue.length > 0) setTimeout(pass, Math.max(0, queue[0].at - performance.now()))
  }
  const later = (bytes: number, act: () => void) => {
    free = Math.max(free, performance.now()) + bytes / bytesAMs
    queue.push({ at: free + DELAY_MS, act })
    if (queue.length === 1) setTimeout(pass, Math.max(0, queue[0].at - performance.now()))
  }
  from.on('data', (data) => {
    waiting += data.length
    if (waiting > onItsWay) from.pause()
    later(data.length, () => {
      waiting -= data.length
      if (waiting <= onItsWay) from.resume()
      to.write(data)
    })
  })
  from.on('end', () => later(0, () => to.end()))
}
