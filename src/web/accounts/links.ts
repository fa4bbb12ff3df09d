/**
 * One-time links. Each is a file in the folder of the page's state, named by a hash of the link's token, so that the command line can make
 * one while the page is served. Removing the file uses the link up: of two that try only one succeeds.
 */

import { createHash, randomBytes } from 'node:crypto'
import { readdir, rm, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { readJson, writeWhole } from '../../jobs/state/files.ts'
import { ownFolder } from '../../jobs/state/folders.ts'
import type { Role } from '../house.ts'
import { ROLES } from './accounts.ts'

/** Milliseconds in which a link can be used. */
export const LINK_MS = 10 * 60_000
const TOKEN_BYTES = 32
/** Milliseconds by which a clock may be set back without harm. After a larger step links would last longer, so they are used up. */
const STEP_MS = 60_000

const LINK = z.strictObject({ version: z.literal(1), id: z.string(), role: z.enum(ROLES), expires: z.number() })

/** What a link is good for. */
export interface Link {
  /** Names it in the audit log. */
  id: string
  role: Role
}

export class Links {
  readonly #folder: string
  readonly #now: () => number

  constructor(folder: string, now: () => number = Date.now) {
    this.#folder = join(folder, 'links')
    this.#now = now
  }

  /** Returns the token, which is not kept. */
  async make(role: Role): Promise<Link & { token: string; expires: number }> {
    await ownFolder(this.#folder)
    await this.#tidy()
    const token = randomBytes(TOKEN_BYTES).toString('base64url')
    const link = { version: 1, id: randomBytes(3).toString('hex'), role, expires: this.#now() + LINK_MS } as const
    await writeWhole(this.#path(token), JSON.stringify(link))
    return { id: link.id, role, token, expires: link.expires }
  }

  /** Null if there is no such link, it has expired, or it was used. */
  async use(token: string): Promise<Link | null> {
    const path = this.#path(token)
    const { data: link } = LINK.safeParse(await readJson(path))
    if (link === undefined) return null
    const isOurs = await unlink(path).then(
      () => true,
      () => false,
    )
    return isOurs && this.#isGood(link) ? { id: link.id, role: link.role } : null
  }

  #isGood({ expires }: { expires: number }): boolean {
    const left = expires - this.#now()
    return left > 0 && left <= LINK_MS + STEP_MS
  }

  #path(token: string): string {
    return join(this.#folder, `${createHash('sha256').update(token).digest('hex')}.json`)
  }

  /** Removes those that have expired. */
  async #tidy(): Promise<void> {
    for (const name of await readdir(this.#folder)) {
      const path = join(this.#folder, name)
      const { data: link } = LINK.safeParse(await readJson(path))
      if (name.endsWith('.json') && (link === undefined || !this.#isGood(link))) await rm(path, { force: true })
    }
  }
}

/** The address that people open. What is behind the # is not sent, so no log of a server has it. */
export function linkAddress(base: string, token: string): string {
  return `${base.replace(/\/$/, '')}/#link=${token}`
}
