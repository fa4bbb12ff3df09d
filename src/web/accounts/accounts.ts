/**
 * Who may sign in by a password, and their roles: accounts.json in the folder of the page's state, mode 0600. The page and the command line
 * both change it, each under a lock, and each sees at once what the other has written.
 */

import { createHash } from 'node:crypto'
import { type FileHandle, open, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { z } from 'zod'
import { describe, printable, VmapipeError } from '../../core/errors.ts'
import { writeWhole } from '../../jobs/state/files.ts'
import { ownFolder } from '../../jobs/state/folders.ts'
import { lockFile } from '../../storage/partial-lock.ts'
import type { AccountRow } from '../api.ts'
import type { Role } from '../house.ts'
import { checkNewPassword, PASSWORD_HASH, Passwords, type ScryptCost } from './password.ts'

export const ROLES = ['look', 'operate', 'administer'] as const satisfies readonly Role[]

const MOST_ACCOUNTS = 1000
/** Milliseconds between two attempts to take the lock, and how many there are. */
const LOCK_MS = 50
const LOCK_ATTEMPTS = 100

const ACCOUNT = z.strictObject({
  role: z.enum(ROLES),
  password: PASSWORD_HASH,
  created: z.string(),
  changed: z.string(),
})
const FILE = z.strictObject({ version: z.literal(1), accounts: z.record(z.string(), ACCOUNT) })

type Account = z.infer<typeof ACCOUNT>

/** What a session needs to know of its account. */
export interface AccountState {
  role: Role
  /** Another one after each change of the password: sessions that were begun before it end. */
  stamp: string
}

/** Throws USAGE for a name that an account cannot have. */
export function checkAccountName(name: string): void {
  if (!/^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$/.test(name))
    throw new VmapipeError('USAGE', `'${name}' cannot be the name of an account`, {
      hint: 'letters, digits, dot, dash, underscore and @; at most 64',
    })
}

export interface AccountsOptions {
  /** That of the page's state, such as /var/lib/vmapipe/web. */
  folder: string
  /** Of new passwords. */
  cost?: ScryptCost
}

export class Accounts {
  readonly #folder: string
  readonly #passwords: Passwords
  #known: ReadonlyMap<string, Account> = new Map()
  #version = ''

  constructor({ folder, cost }: AccountsOptions) {
    this.#folder = folder
    this.#passwords = new Passwords(cost)
  }

  /** Reads the file, if there is one. Errors: CONFIG if it is damaged. */
  async open(): Promise<this> {
    await ownFolder(this.#folder)
    await this.#refresh()
    return this
  }

  /** For those who check passwords: the first check must not take longer than others. */
  async prepare(): Promise<void> {
    await this.#passwords.prepare()
  }

  async list(): Promise<AccountRow[]> {
    await this.#refresh()
    return [...this.#known]
      .map(([name, { role, created, changed }]) => ({ name, role, created, changed }))
      .sort((a, b) => (a.name < b.name ? -1 : 1))
  }

  /** Null if there is no such account. */
  async state(name: string): Promise<AccountState | null> {
    await this.#refresh()
    const account = this.#known.get(name)
    return account === undefined ? null : stateOf(account)
  }

  /** Null if the name or the password is wrong; it takes the same time for both. */
  async signIn(name: string, password: string): Promise<AccountState | null> {
    await this.#refresh()
    const account = this.#known.get(name)
    const isRight = await this.#passwords.check(password, account?.password ?? null)
    return isRight && account !== undefined ? stateOf(account) : null
  }

  async add(name: string, password: string, role: Role): Promise<void> {
    checkAccountName(name)
    checkNewPassword(password)
    const hash = await this.#passwords.hash(password)
    const now = new Date().toISOString()
    await this.#change((accounts) => {
      if (accounts.has(name)) throw new VmapipeError('USAGE', `there is an account '${name}' already`)
      if (accounts.size >= MOST_ACCOUNTS) throw new VmapipeError('USAGE', `there are ${MOST_ACCOUNTS} accounts already`)
      accounts.set(name, { role, password: hash, created: now, changed: now })
    })
  }

  async remove(name: string): Promise<void> {
    await this.#change((accounts) => {
      if (!accounts.delete(name)) throw unknown(name)
    })
  }

  async change(name: string, { role, password }: { role?: Role; password?: string }): Promise<void> {
    if (password !== undefined) checkNewPassword(password)
    const hash = password === undefined ? undefined : await this.#passwords.hash(password)
    await this.#change((accounts) => {
      const account = accounts.get(name)
      if (account === undefined) throw unknown(name)
      accounts.set(name, {
        ...account,
        ...(role !== undefined && { role }),
        ...(hash !== undefined && { password: hash, changed: new Date().toISOString() }),
      })
    })
  }

  get #path(): string {
    return join(this.#folder, 'accounts.json')
  }

  /** Changes the accounts as they are on the disk. If `change` throws, nothing is written. */
  async #change(change: (accounts: Map<string, Account>) => void): Promise<void> {
    const lock = await this.#lock()
    try {
      await this.#refresh()
      const accounts = new Map(this.#known)
      change(accounts)
      const content = { version: 1, accounts: Object.fromEntries(accounts) } satisfies z.infer<typeof FILE>
      await writeWhole(this.#path, `${JSON.stringify(content, null, 2)}\n`).catch((cause) => {
        throw new VmapipeError('FAILED', `the accounts cannot be written: ${describe(cause)}`, { cause })
      })
      await this.#refresh()
    } finally {
      await lock.close()
    }
  }

  async #lock(): Promise<FileHandle> {
    await ownFolder(this.#folder)
    const file = await open(join(this.#folder, 'accounts.lock'), 'a', 0o600)
    for (let attempt = 0; attempt < LOCK_ATTEMPTS; attempt++) {
      if ((await lockFile(file)) !== 'busy') return file
      await sleep(LOCK_MS)
    }
    await file.close()
    throw new VmapipeError('FAILED', 'the accounts are being changed by another process', { hint: 'try again' })
  }

  /** Reads the file if it is another one than it was. */
  async #refresh(): Promise<void> {
    const version = await stat(this.#path, { bigint: true }).then(
      ({ ino, mtimeNs, size }) => `${ino} ${mtimeNs} ${size}`,
      (error) => {
        if (error.code === 'ENOENT') return 'none'
        throw new VmapipeError('FAILED', `the accounts cannot be read: ${describe(error)}`, { cause: error })
      },
    )
    if (version === this.#version) return
    this.#known = version === 'none' ? new Map() : await read(this.#path)
    this.#version = version
  }
}

async function read(path: string): Promise<Map<string, Account>> {
  try {
    return new Map(Object.entries(FILE.parse(JSON.parse(await readFile(path, 'utf8'))).accounts))
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return new Map()
    throw new VmapipeError('CONFIG', `'${printable(path)}' is damaged or cannot be read`, {
      hint: 'repair it, or remove it and add the accounts again',
      cause,
    })
  }
}

/** Sessions are kept with the stamp, so it is no part of the account's secrets: each password has another salt. */
function stateOf({ role, password }: Account): AccountState {
  return { role, stamp: createHash('sha256').update(password.salt).digest('hex').slice(0, 32) }
}

function unknown(name: string): VmapipeError {
  return new VmapipeError('USAGE', `there is no account '${name}'`)
}
