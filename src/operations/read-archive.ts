/** How an operation reads an archive from its beginning to its end: its options, and the stages that give its clusters. */

import { Keyring } from '../codecs/age/keyring.ts'
import { bindStage } from '../config/registry.ts'
import type { Findings } from '../core/findings.ts'
import { placeOrStream, type Shape } from '../core/options.ts'
import { type BoundStage, z } from '../core/stage.ts'
import type { ReadableLike } from '../core/stream-kinds.ts'
import { limit, type OperationOptions, operationShape } from './operation.ts'

/** Which archive is read, and how the operation runs. */
export interface ReadingOptions extends OperationOptions {
  /** A path, `-`, `ssh://user@host/path`, `s3://bucket/name`, `exec:COMMAND`, or a stream of Node or the web. */
  from: string | ReadableLike
  /** What opens the archive if it is encrypted. By default the file of keys that VMAPIPE_IDENTITY_FILE names. */
  keys?: Keyring
}

export const readingShape = {
  ...operationShape,
  from: placeOrStream,
  keys: z.instanceof(Keyring),
} satisfies Shape<ReadingOptions>

/** The stages from an archive to its clusters. Damage ends the run, unless there are `findings` to take it. */
export function reading({ from, bwlimit, keys }: ReadingOptions, findings?: Findings): BoundStage[] {
  return [
    bindStage('source', { from }),
    ...limit(bwlimit),
    bindStage('decryptor', { keys, findings }),
    bindStage('decompressor', { findings }),
    bindStage('vma-deframer', { findings }),
  ]
}
