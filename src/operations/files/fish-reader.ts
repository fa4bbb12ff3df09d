/** Lists and reads the files of one filesystem through guestfish. */

import { execFile } from 'node:child_process'
import { constants } from 'node:fs'
import { readFile, stat, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { promisify } from 'node:util'
import { textOf } from '../../core/byte-text.ts'
import { VmapipeError } from '../../core/errors.ts'
import { openFd, readPipe } from '../../system/pipe-fd.ts'
import type { EntryType, FileEntry, FileItem } from './entry.ts'
import type { Filesystem } from './filesystems.ts'
import type { Guestfish } from './guestfish.ts'
import { tarItems } from './tar-items.ts'

const AT_ONCE = 200
/** The most bytes of names in a folder. */
const MOST_NAMES = 64 << 20

export class FishReader {
  readonly #fish: Guestfish
  /** A private folder for a pipe and for lists. */
  readonly #folder: string

  private constructor(fish: Guestfish, folder: string) {
    this.#fish = fish
    this.#folder = folder
  }

  /** The filesystem is mounted read-only. Its journal is replayed into an overlay of the virtual machine. */
  static async open(fish: Guestfish, { device }: Filesystem, folder: string): Promise<FishReader> {
    await fish.run('mount-ro', device, '/')
    return new FishReader(fish, folder)
  }

  /** Null if there is none. `path` as in FileEntry. */
  async entry(path: string): Promise<FileEntry | null> {
    const [entry] = await this.#entries([path])
    return entry ?? null
  }

  /** What is in the folder, by name; with `recursive` also what is in its folders. */
  async list(path: string, { recursive = false } = {}): Promise<FileEntry[]> {
    const names = await this.#names(recursive ? 'find0' : 'ls0', path)
    const paths = names.map((name) => (path === '' ? name : `${path}/${name}`)).sort()
    const entries: FileEntry[] = []
    for (let at = 0; at < paths.length; at += AT_ONCE)
      entries.push(...(await this.#entries(paths.slice(at, at + AT_ONCE))))
    return entries
  }

  /** The file, or the folder with all that is in it, with content. */
  async *items(entry: FileEntry): AsyncGenerator<FileItem> {
    if (entry.type === 'folder') return yield* this.#folderItems(entry)
    if (entry.type !== 'file') return yield { ...entry, content: none() }
    yield* this.#piped(['download', `/${entry.path}`], async function* (content) {
      yield { ...entry, content }
    })
  }

  async *#folderItems({ path }: FileEntry): AsyncGenerator<FileItem> {
    // The numbers of users: their names may be others here.
    const command = (pipe: string) => ['tar-out', `/${path}`, pipe, 'numericowner:true']
    yield* this.#piped(command, (tar) => tarItems(tar, path))
  }

  /** Runs a command that writes into a file, and gives what `read` makes of it. */
  async *#piped(
    command: string[] | ((pipe: string) => string[]),
    read: (stream: Readable) => AsyncIterable<FileItem>,
  ): AsyncGenerator<FileItem> {
    const pipe = join(this.#folder, 'pipe')
    await promisify(execFile)('mkfifo', ['-m', '600', pipe])
    try {
      const fd = await openFd(pipe, constants.O_RDONLY | constants.O_NONBLOCK)
      const stream = pipeStream(fd)
      const [name, ...args] = typeof command === 'function' ? command(pipe) : [...command, pipe]
      const done = this.#fish.run(name, ...args)
      // It may end before it has opened the pipe, and then the pipe never ends.
      const failed = done.catch((error) => void stream.destroy(error))
      yield* read(stream)
      await failed
      await done
    } finally {
      await unlink(pipe)
    }
  }

  async #names(command: 'ls0' | 'find0', path: string): Promise<string[]> {
    const file = join(this.#folder, 'names')
    await this.#fish.run(command, `/${path}`, file)
    const { size } = await stat(file)
    if (size > MOST_NAMES) throw new VmapipeError('FAILED', `'/${path}' has too many files to be listed`)
    const all = (await readFile(file)).toString('latin1').split('\0')
    await unlink(file)
    return all.filter((name) => name !== '').map((name) => textOf(Buffer.from(name, 'latin1')))
  }

  /** Those that are there. */
  async #entries(paths: readonly string[]): Promise<FileEntry[]> {
    const found = await this.#fish.runAll(paths.map((path) => ['-lstatns', `/${path}`]))
    const entries = paths.flatMap((path, index) => entryOf(path, found[index]) ?? [])
    const links = entries.filter(({ type }) => type === 'symlink')
    const targets = await this.#fish.runAll(links.map(({ path }) => ['-readlink', `/${path}`]))
    for (const [index, entry] of links.entries()) entry.link = targets[index].replace(/\n$/, '')
    return entries
  }
}

/** By the bits of stat(2). */
function typeOf(mode: number): EntryType {
  switch (mode & constants.S_IFMT) {
    case constants.S_IFREG:
      return 'file'
    case constants.S_IFDIR:
      return 'folder'
    case constants.S_IFLNK:
      return 'symlink'
    default:
      return 'other'
  }
}

function entryOf(path: string, answer: string): FileEntry | null {
  const fields = new Map([...answer.matchAll(/^(\w+): (-?\d+)$/gm)].map(([, name, value]) => [name, Number(value)]))
  const mode = fields.get('st_mode')
  if (mode === undefined) return null
  const number = (name: string) => fields.get(name) ?? 0
  return {
    path,
    type: typeOf(mode),
    mode: mode & 0o7777,
    uid: number('st_uid'),
    gid: number('st_gid'),
    size: number('st_size'),
    mtime: number('st_mtime_sec'),
  }
}

/** A stream whose chunks may be kept. */
function pipeStream(fd: number): Readable {
  const stream = readPipe(fd, (bytes) => stream.push(Buffer.from(bytes)))
  return stream
}

async function* none(): AsyncGenerator<Uint8Array> {}
