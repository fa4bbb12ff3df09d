/** Opens an archive to read, as the user names it: each kind of place has a source of its own. */

import type { Chunk } from '../../core/items.ts'
import { isReadableLike, nodeReadable, type ReadableLike } from '../../core/stream-kinds.ts'
import { readStream } from '../../system/pipe-fd.ts'
import type { ArchiveSource, SourceOptions } from './endpoint.ts'
import { execSource } from './exec.ts'
import { openPath, openStdin } from './open-source.ts'
import { PipeSource } from './pipe-source.ts'
import { parsePlace } from './spec.ts'
import { sshSource } from './ssh-source.ts'

/** The source that `from` means (see spec.ts), or a stream of the caller's. Throws USAGE if `from` means nothing. */
export function archiveSource(from: string | ReadableLike, options: SourceOptions): ArchiveSource {
  if (isReadableLike(from)) {
    return new PipeSource(async (feed) => readStream(nodeReadable(from), feed), 'the stream', options)
  }
  const place = parsePlace(from)
  switch (place.kind) {
    case 'stdio':
      return new Chosen(() => openStdin(options))
    case 'exec':
      return execSource(place.command, options)
    case 'ssh':
      return sshSource(place, options)
    case 's3':
      return new Chosen(async () => new (await import('./s3/s3-source.ts')).S3Source(place, options))
    default:
      return new Chosen(() => openPath(place.path, options))
  }
}

/** A source that is chosen when it is opened, by what is found there. */
class Chosen implements ArchiveSource {
  readonly #choose: () => Promise<ArchiveSource>
  #source: ArchiveSource | null = null

  constructor(choose: () => Promise<ArchiveSource>) {
    this.#choose = choose
  }

  get size(): number | undefined {
    return this.#source?.size
  }

  async open(): Promise<void> {
    this.#source = await this.#choose()
    await this.#source.open()
  }

  read(): Promise<Chunk | null> {
    return this.#source!.read()
  }

  async close(): Promise<void> {
    await this.#source?.close()
  }
}
