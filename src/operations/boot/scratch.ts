/**
 * The files of one boot. Those that QEMU opens are in a folder among the temporary files: sockets, variables, the picture of the screen.
 * What the guest writes is in a folder of its own, which may be anywhere. Both are removed at the end, or by the next run.
 */

import { chmod, chown, open, readdir, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { removeAbandoned } from '../../storage/abandoned-files.ts'
import { PartialEntry } from '../../storage/partial-entry.ts'
import type { LimitedUser } from './program.ts'

const NAME = 'vmapipe-boot'
/** The longest TMPDIR that is used: a socket's path has at most 107 bytes. */
const MAX_TMPDIR = 45
const OTHERS_ENTER = 0o001

export class Scratch {
  readonly #shared: PartialEntry
  readonly #written: PartialEntry
  readonly #user: LimitedUser | null

  private constructor(shared: PartialEntry, written: PartialEntry, user: LimitedUser | null) {
    this.#shared = shared
    this.#written = written
    this.#user = user
  }

  /** `parent`: where the folder for what the guest writes is made; among the temporary files by default. */
  static async make(parent: string | undefined, user: LimitedUser | null): Promise<Scratch> {
    const shared = await make(await sharedParent(user))
    try {
      // Its files have mode 0600; some of them belong to the user.
      if (user !== null) await chmod(shared.path, 0o711)
      return new Scratch(shared, await make(parent ?? tmpdir()), user)
    } catch (error) {
      await shared.remove()
      throw error
    }
  }

  /** The folder for what the guest writes. */
  get written(): string {
    return this.#written.path
  }

  /** A path in the folder that QEMU can enter. */
  shared(name: string): string {
    return join(this.#shared.path, name)
  }

  /** Makes an empty file that QEMU may write. Returns its path. */
  async fileForQemu(name: string): Promise<string> {
    const path = this.shared(name)
    await (await open(path, 'wx', 0o600)).close()
    if (this.#user !== null) await chown(path, this.#user.uid, this.#user.gid)
    return path
  }

  /** Bytes on the disk that the guest has written. */
  async used(): Promise<number> {
    const sizes = (await readdir(this.written)).map(async (name) => {
      const stats = await stat(join(this.written, name)).catch(() => null)
      return (stats?.blocks ?? 0) * 512
    })
    return (await Promise.all(sizes)).reduce((sum, bytes) => sum + bytes, 0)
  }

  async remove(): Promise<void> {
    await this.#written.remove()
    await this.#shared.remove()
  }
}

async function make(parent: string): Promise<PartialEntry> {
  const entry = await PartialEntry.create(parent, NAME, true)
  await removeAbandoned(join(parent, NAME), entry, () => {})
  return entry
}

/** The folder for temporary files, or /tmp if that is one that another user cannot enter. */
async function sharedParent(user: LimitedUser | null): Promise<string> {
  const folder = tmpdir()
  if (Buffer.byteLength(folder) > MAX_TMPDIR) return '/tmp'
  if (user === null) return folder
  const { mode } = await stat(folder)
  return (mode & OTHERS_ENTER) === 0 ? '/tmp' : folder
}
