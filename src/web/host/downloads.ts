/**
 * Drives and files of archives, made as they are read: a child of our own command line reads no faster than the browser takes, and ends when
 * the browser goes.
 */

import { once } from 'node:events'
import { Readable } from 'node:stream'
import { LRUCache } from 'lru-cache'
import { extract } from 'tar-stream'
import { VmapipeError } from '../../core/errors.ts'
import type { FileEntry } from '../../operations/files/entry.ts'
import type { Filesystem } from '../../operations/files/filesystems.ts'
import type { ArchiveContent, Download } from '../house.ts'
import type { KnownArchive } from './archive-store.ts'
import { type CommandLine, startCommand } from './command.ts'
import { onLines } from './lines.ts'
import { endCommand, failureOf, runCommand } from './tasks.ts'
import { fileName, plainName } from './texts.ts'

/** Downloads, and looks into filesystems, at once. */
const MOST_AT_ONCE = 4
/** Listings that are remembered: each takes the start of a small virtual machine. */
const MOST_LISTINGS = 200
/** And their characters: a guest may have folders of millions of files. */
const MOST_REMEMBERED = 64 << 20
/** Characters of a listing. */
const MOST_LISTED = 64 << 20
const LIST_MS = 180_000

export interface Listed {
  name: string
  folder: boolean
  size: number | null
}

export class Downloads {
  readonly #command: CommandLine
  readonly #listings = new LRUCache<string, string>({
    max: MOST_LISTINGS,
    maxSize: MOST_REMEMBERED,
    sizeCalculation: ({ length }) => length + 1,
  })
  /** Those that are being made: who asks for the same waits for it. */
  readonly #making = new Map<string, Promise<string>>()
  readonly #end = new AbortController()
  #running = 0

  constructor(command: CommandLine) {
    this.#command = command
  }

  close(): void {
    this.#end.abort(new VmapipeError('ABORTED', 'the page is closed'))
  }

  /** What is in a folder. At the top are the filesystems of the archive. Errors: USAGE, FAILED. */
  async list(archive: KnownArchive, path: string): Promise<Listed[]> {
    const filesystems = await this.#filesystems(archive)
    const found = within(filesystems, path)
    if (found === null) return filesystems.map(({ name, size }) => ({ name, folder: true, size }))
    const { filesystem, inside } = found
    const text = await this.#listing(archive, [filesystem, `/${inside}`])
    return (JSON.parse(text) as FileEntry[])
      .filter((entry) => entry.path !== inside)
      .map(({ path: whole, type, size }) => ({
        name: whole.slice(whole.lastIndexOf('/') + 1),
        folder: type === 'folder',
        size: type === 'file' || type === 'hardlink' ? size : null,
      }))
  }

  /** A drive as a raw image. */
  async drive(archive: KnownArchive, drive: string, content: ArchiveContent, signal: AbortSignal): Promise<Download> {
    const found = content.drives.find(({ name }) => name === drive)
    if (found === undefined && content.problem !== null) throw new VmapipeError('FAILED', content.problem)
    if (found === undefined) throw new VmapipeError('USAGE', 'the archive has no drive of this name')
    const words = ['cat', '--progress=none', ...keysOf(archive), '--', archive.entry.place, drive]
    const stream = await this.#stream(words, signal)
    return { name: `${plainName(stemOf(archive))}-${plainName(drive)}.raw`, size: found.size, content: stream }
  }

  /** One file, or a folder as a tar. */
  async file(archive: KnownArchive, path: string, signal: AbortSignal): Promise<Download> {
    const found = within(await this.#filesystems(archive), path)
    if (found === null || found.inside === '') throw new VmapipeError('USAGE', 'this is no file')
    const { filesystem, inside } = found
    const type = await this.#typeOf(archive, filesystem, inside)
    if (type !== 'file' && type !== 'hardlink' && type !== 'folder')
      throw new VmapipeError('USAGE', type === undefined ? 'there is no such file' : 'this is no file', {
        ...(type === 'symlink' && { hint: 'a symlink leads to one, and is none' }),
      })
    const words = ['files', '--output=-', ...keysOf(archive), '--', archive.entry.place, filesystem, `/${inside}`]
    const tar = await this.#stream(words, signal)
    const name = fileName(inside.slice(inside.lastIndexOf('/') + 1))
    if (type === 'folder') return { name: `${name}.tar`, size: null, content: tar }
    return { name, ...(await onlyFile(tar)) }
  }

  /** From the listing of its folder, which the page has shown. */
  async #typeOf(archive: KnownArchive, filesystem: string, inside: string): Promise<FileEntry['type'] | undefined> {
    const folder = inside.includes('/') ? inside.slice(0, inside.lastIndexOf('/')) : ''
    const entries = JSON.parse(await this.#listing(archive, [filesystem, `/${folder}`])) as FileEntry[]
    return entries.find((entry) => entry.path === inside)?.type
  }

  async #filesystems(archive: KnownArchive): Promise<Filesystem[]> {
    return JSON.parse(await this.#listing(archive, [])) as Filesystem[]
  }

  /** The output of `files --json`. One that failed is not remembered. */
  async #listing(archive: KnownArchive, words: readonly string[]): Promise<string> {
    const { id, entry } = archive
    const key = JSON.stringify([id, entry.size, entry.written, words])
    const known = this.#listings.get(key) ?? this.#making.get(key)
    if (known !== undefined) return known
    const all = ['files', '--json', ...keysOf(archive), '--', entry.place, ...words]
    const signal = AbortSignal.any([this.#end.signal, AbortSignal.timeout(LIST_MS)])
    const made = this.#counted(() => runCommand(this.#command, all, { signal, most: MOST_LISTED }))
    this.#making.set(key, made)
    try {
      const text = await made
      this.#listings.set(key, text)
      return text
    } finally {
      this.#making.delete(key)
    }
  }

  async #counted<T>(work: () => Promise<T>): Promise<T> {
    this.#enter()
    try {
      return await work()
    } finally {
      this.#running--
    }
  }

  #enter(): void {
    if (this.#running >= MOST_AT_ONCE)
      throw new VmapipeError('USAGE', `${MOST_AT_ONCE} downloads run already`, { hint: 'try it again later' })
    this.#running++
  }

  /** The standard output of a command, from its first byte on. Errors: what it says if there is none. */
  async #stream(words: readonly string[], asked: AbortSignal): Promise<Readable> {
    const signal = AbortSignal.any([asked, this.#end.signal])
    signal.throwIfAborted()
    this.#enter()
    let child: ReturnType<typeof startCommand>
    try {
      child = startCommand(this.#command, words)
    } catch (error) {
      this.#running--
      throw error
    }
    const said: string[] = []
    onLines(child.stderr!, (line) => {
      said.push(line)
      if (said.length > 20) said.shift()
    })
    const out = child.stdout!
    const end = () => {
      endCommand(child)
      out.destroy()
    }
    signal.addEventListener('abort', end, { once: true })
    const closed = once(child, 'close').then(
      ([code]) => code as number | null,
      () => null,
    )
    void closed.then(() => {
      this.#running--
      signal.removeEventListener('abort', end)
    })
    const body = async function* () {
      try {
        for await (const chunk of out) yield chunk as Buffer
        const code = await closed
        if (code !== 0) throw failureOf(said, code)
      } finally {
        end()
      }
    }
    const bytes = body()
    // Until there is a first byte the browser can still be told what is wrong.
    const first = await bytes.next()
    if (signal.aborted) {
      await bytes.return(undefined).catch(() => {})
      throw new VmapipeError('ABORTED', 'aborted')
    }
    const rest = async function* () {
      if (!first.done) yield first.value
      yield* bytes
    }
    const stream = Readable.from(rest(), { objectMode: false })
    // Nobody may be reading on, so nothing would tell the stream that its child has ended.
    const aborted = () => stream.destroy(new VmapipeError('ABORTED', 'aborted'))
    signal.addEventListener('abort', aborted, { once: true })
    stream.on('error', () => {})
    stream.once('close', () => {
      signal.removeEventListener('abort', aborted)
      end()
    })
    return stream
  }
}

/** The path within its filesystem; null for the top. The name of a filesystem may have slashes, as that of LVM has. Errors: USAGE. */
function within(filesystems: readonly Filesystem[], path: string): { filesystem: string; inside: string } | null {
  const parts = path.split('/').filter((part) => part !== '' && part !== '.')
  if (parts.includes('..') || path.includes('\0')) throw new VmapipeError('USAGE', 'this path leads out of the archive')
  const plain = parts.join('/')
  if (plain === '') return null
  const found = filesystems
    .filter(({ name }) => plain === name || plain.startsWith(`${name}/`))
    .toSorted((a, b) => b.name.length - a.name.length)[0]
  if (found === undefined) throw new VmapipeError('USAGE', 'the archive has no filesystem of this name')
  return { filesystem: found.name, inside: plain.slice(found.name.length + 1) }
}

/** The content of the first file of a tar, which has but one. */
async function onlyFile(tar: Readable): Promise<{ size: number; content: Readable }> {
  const parser = extract()
  tar.pipe(parser)
  tar.on('error', (error) => parser.destroy(error))
  const entries = parser[Symbol.asyncIterator]()
  const first = await entries.next()
  if (first.done || first.value.header.type !== 'file') {
    tar.destroy()
    throw new VmapipeError('USAGE', 'this is no file that can be read')
  }
  const { header } = first.value
  const body = async function* () {
    try {
      for await (const chunk of first.value) yield chunk as Buffer
      // What comes behind the file ends the tar, and with it the command: its error is told.
      await entries.next()
    } finally {
      tar.destroy()
    }
  }
  const content = Readable.from(body(), { objectMode: false })
  tar.on('error', (error) => content.destroy(error))
  content.on('error', () => {})
  content.once('close', () => tar.destroy())
  return { size: header.size ?? 0, content }
}

function keysOf({ identity }: KnownArchive): string[] {
  return identity.map((file) => `--identity=${file}`)
}

function stemOf({ entry }: KnownArchive): string {
  return entry.name.replace(/\.vm[ai](\..*)?$/s, '')
}
