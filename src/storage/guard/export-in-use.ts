/**
 * Tells which NBD exports a process of ours writes to. NBD has no locks. So the process takes a name among the abstract sockets of
 * Linux, which is free again when the process ends, however it ends. Another user could take such a name to disturb us, so only
 * processes of this user and of root count.
 */

import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { readdir, readFile, readlink, stat } from 'node:fs/promises'
import { createServer, type Server } from 'node:net'
import { VmapipeError } from '../../core/errors.ts'
import { formatNbdAddress, type NbdAddress } from '../../protocol/nbd/uri.ts'
import { describeProcess } from './lock-holders.ts'
import { exportIdentities } from './same-disk.ts'

/** Marks the export as in use, until the returned function is called. Throws FAILED if it is in use already. */
export async function holdExport(address: NbdAddress): Promise<() => void> {
  const held: Server[] = []
  const release = () => held.splice(0).forEach((server) => void server.close())
  for (const name of await namesOf(address)) {
    const server = await listen(name)
    if (server !== null) held.push(server)
    else {
      await refuseIfHeld(name, address).catch((error) => {
        release()
        throw error
      })
    }
  }
  return release
}

/** Throws FAILED if a process of ours writes to the export. */
export async function refuseExportInUse(address: NbdAddress): Promise<void> {
  for (const name of await namesOf(address)) await refuseIfHeld(name, address)
}

async function namesOf(address: NbdAddress): Promise<string[]> {
  const identities = await exportIdentities(address)
  return identities.map(
    (identity) => `vmapipe-export-${createHash('sha256').update(identity).digest('hex').slice(0, 40)}`,
  )
}

/** Takes the name. Null if another process has it, or if this system has no such sockets. */
async function listen(name: string): Promise<Server | null> {
  const server = createServer((socket) => socket.destroy()).unref()
  try {
    server.listen(`\0${name}`)
    await once(server, 'listening')
    return server
  } catch {
    return null
  }
}

async function refuseIfHeld(name: string, address: NbdAddress): Promise<void> {
  const holder = await holderOf(name)
  if (holder === null) return
  throw new VmapipeError('FAILED', `the NBD export is in use by ${describeProcess(holder)}`, {
    file: formatNbdAddress(address),
    hint: 'end that first; the guest of `vmapipe serve` is backed up with --attach CONTROL; --force-share reads the export all the same',
  })
}

/** The number of the process that has the name; null if no process that counts has it. */
async function holderOf(name: string): Promise<string | null> {
  const lines = (await readFile('/proc/net/unix', 'utf8').catch(() => '')).split('\n')
  // The columns are "Num RefCount Protocol Flags Type St Inode Path".
  const inode = lines
    .find((line) => line.endsWith(` @${name}`))
    ?.trim()
    .split(/\s+/)[6]
  if (inode === undefined) return null
  for (const pid of await readdir('/proc').catch(() => [])) {
    if (/^\d+$/.test(pid) && (await isTrusted(pid)) && (await hasSocket(pid, inode))) return pid
  }
  return null
}

async function isTrusted(pid: string): Promise<boolean> {
  const owner = await stat(`/proc/${pid}`).catch(() => null)
  return owner !== null && (owner.uid === 0 || owner.uid === process.geteuid?.())
}

async function hasSocket(pid: string, inode: string): Promise<boolean> {
  const folder = `/proc/${pid}/fd`
  for (const fd of await readdir(folder).catch(() => [])) {
    if ((await readlink(`${folder}/${fd}`).catch(() => '')) === `socket:[${inode}]`) return true
  }
  return false
}
