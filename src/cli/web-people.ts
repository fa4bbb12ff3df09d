/** Accounts and one-time links of the page, by the command line. The page sees what is changed here while it is served. */

import { userInfo } from 'node:os'
import { join } from 'node:path'
import { passphraseFrom } from '../codecs/age/passphrase.ts'
import { VmapipeError } from '../core/errors.ts'
import { readJson } from '../jobs/state/files.ts'
import { stateFolder } from '../jobs/state/folders.ts'
import { Accounts, checkAccountName } from '../web/accounts/accounts.ts'
import { AuditLog } from '../web/accounts/audit.ts'
import { Links, linkAddress } from '../web/accounts/links.ts'
import type { Role } from '../web/house.ts'
import { columns } from './text.ts'

/** Of the page, in the folder of the state. */
export function webFolder(state: string | undefined): string {
  return join(state ?? stateFolder(), 'web')
}

/** Of the process that serves the page: how `web link` finds its address. */
export interface ServingFile {
  pid: number
  address: string
}

export function servingFile(folder: string): string {
  return join(folder, 'serving.json')
}

export async function makeLink(role: Role, state: string | undefined): Promise<string> {
  const folder = webFolder(state)
  const serving = (await readJson(servingFile(folder))) as ServingFile | null
  if (serving === null || !isAlive(serving.pid))
    throw new VmapipeError('FAILED', `no page is served with the state in '${folder}'`, {
      hint: 'vmapipe web serves it, and prints a link; give its --state',
    })
  const { id, token } = await new Links(folder).make(role)
  await auditFromHere(folder, 'make-link', `link-${id}, role ${role}`)
  return linkAddress(serving.address, token)
}

export async function addUser(name: string, role: Role, state: string | undefined): Promise<string> {
  checkAccountName(name)
  const folder = webFolder(state)
  const accounts = await new Accounts({ folder }).open()
  if ((await accounts.state(name)) !== null) throw new VmapipeError('USAGE', `there is an account '${name}' already`)
  await accounts.add(name, await newPassword(), role)
  await auditFromHere(folder, 'add-account', `${name}, role ${role}`)
  return `'${name}' may sign in, with the role ${role}`
}

export async function userLines(json: boolean, state: string | undefined): Promise<string[]> {
  const rows = await (await new Accounts({ folder: webFolder(state) }).open()).list()
  if (json) return [JSON.stringify(rows, null, 2)]
  if (rows.length === 0) return ['there are no accounts']
  return columns([
    ['NAME', 'ROLE', 'CREATED', 'PASSWORD OF'],
    ...rows.map(({ name, role, created, changed }) => [name, role, created.slice(0, 10), changed.slice(0, 10)]),
  ])
}

export async function removeUser(name: string, state: string | undefined): Promise<string> {
  const folder = webFolder(state)
  await (await new Accounts({ folder }).open()).remove(name)
  await auditFromHere(folder, 'remove-account', name)
  return `the account '${name}' is removed`
}

export async function changeRole(name: string, role: Role, state: string | undefined): Promise<string> {
  const folder = webFolder(state)
  await (await new Accounts({ folder }).open()).change(name, { role })
  await auditFromHere(folder, 'change-account', `${name}: role ${role}`)
  return `'${name}' has the role ${role}`
}

export async function changePassword(name: string, state: string | undefined): Promise<string> {
  const folder = webFolder(state)
  const accounts = await new Accounts({ folder }).open()
  if ((await accounts.state(name)) === null) throw new VmapipeError('USAGE', `there is no account '${name}'`)
  await accounts.change(name, { password: await newPassword() })
  await auditFromHere(folder, 'change-account', `${name}: a new password`)
  return `'${name}' has another password`
}

/** Twice from the terminal, or the first line of standard input. */
function newPassword(): Promise<string> {
  return process.stdin.isTTY
    ? passphraseFrom({ isNew: true, what: 'password' })()
    : passphraseFrom({ fd: 0, what: 'password' })()
}

/** Notes what was done by the command line, by whom of this host. */
export async function auditFromHere(folder: string, what: string, detail: string): Promise<void> {
  const warn = (message: string) => void process.stderr.write(`${message}\n`)
  const who = `${userInfo().username} (command line)`
  await new AuditLog({ folder, warn }).add({ who, from: 'command line', what, detail, outcome: 'done' })
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}
