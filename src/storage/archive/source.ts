/** Opens an archive to read, as the user names it: each kind of place has a source of its own. */

import { isReadableLike, nodeReadable, type ReadableLike } from '../../core/stream-kinds.ts'
import { readStream } from '../../system/pipe-fd.ts'
import { ChosenSource } from './chosen-source.ts'
import type { ArchiveSource, SourceOptions } from './endpoint.ts'
import { execSource } from './exec.ts'
import { openPath, openStdin } from './open-source.ts'
import { PipeSource } from './pipe-source.ts'
import { parsePlace } from './spec.ts'
import { farSource } from './volumes/far-archive.ts'

/** The source that `from` means (see spec.ts), or a stream of the caller's. Throws USAGE if `from` means nothing. */
export function archiveSource(from: string | ReadableLike, options: SourceOptions): ArchiveSource {
  if (isReadableLike(from)) {
    return new PipeSource(async (feed) => readStream(nodeReadable(from), feed), 'the stream', options)
  }
  const place = parsePlace(from)
  switch (place.kind) {
    case 'stdio':
      return new ChosenSource(() => openStdin(options))
    case 'exec':
      return execSource(place.command, options)
    case 'ssh':
    case 's3':
      return farSource(place, options)
    default:
      return new ChosenSource(() => openPath(place.path, options))
  }
}
