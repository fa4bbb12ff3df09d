/** How an operation reads an archive in any order: the options of all that do. */

import { Keyring } from '../codecs/age/keyring.ts'
import { abortSignal, atLeastOne, callback, names, type Shape, text } from '../core/options.ts'
import { z } from '../core/stage.ts'

/** Which archive is read in any order, and with what. */
export interface RandomReadingOptions {
  /** A path, `s3://bucket/name`, `ssh://user@host/path`; or what can be read only once, which is unpacked into `spool`: `-`, `exec:COMMAND`. */
  from: string
  /** Folders and archives where the parents of an incremental archive are looked for, before its own folder. */
  parents?: string[]
  /** The folder for unpacked drives, if the archive can only be read once. */
  spool?: string
  /** What opens the archive if it is encrypted. */
  keys?: Keyring
  /** Bytes of memory for reading the archive; 64 MiB by default. */
  buffer?: number
  /** Aborts the operation; of a service, only the opening of its archive. */
  signal?: AbortSignal
  /** Takes one line for the user that is not an error. */
  warn?: (message: string) => void
}

export const randomReadingShape = {
  from: text,
  parents: names,
  spool: text,
  keys: z.instanceof(Keyring),
  buffer: atLeastOne,
  signal: abortSignal,
  warn: callback,
} satisfies Shape<RandomReadingOptions>
