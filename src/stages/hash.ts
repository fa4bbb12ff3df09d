/**
 * Computes hashes of the bytes that pass, and writes each into a file that `sha256sum -c` (or sha512sum, b2sum, xxhsum) reads. The file
 * appears after the archive itself, so one that is there always belongs to a whole archive. A run that fails leaves none.
 */

import { dirname, resolve } from 'node:path'
import { destinationBehind } from '../core/destination.ts'
import { VmapipeError } from '../core/errors.ts'
import type { Chunk, Item } from '../core/items.ts'
import { type Destination, defineStage, type StageContext, type TransformBody, z } from '../core/stage.ts'
import type { ArchiveTarget } from '../storage/archive/endpoint.ts'
import { fileName, parsePlace } from '../storage/archive/spec.ts'
import { archiveTarget } from '../storage/archive/target.ts'
import { type Hasher, hashFile, METHOD_NAMES, METHODS, type Method } from './hash/methods.ts'

const methodName = z.enum(METHOD_NAMES)

const options = z.strictObject({
  method: z
    .union([methodName, z.array(methodName).min(1)])
    .default('sha256')
    .transform((given) => [...new Set(typeof given === 'string' ? [given] : given)])
    .describe('sha256, sha512, blake2b or xxh3 (xxh3 finds damage, not forgery), or a list of them for one pass'),
  to: z
    .string()
    .optional()
    .describe(
      'where the hash goes, with the ending of each method if there are several; by default beside the archive, with .sha256, .sha512, .b2 or .xxh3 behind its name',
    ),
  force: z.boolean().optional().describe('overwrite an existing file of hashes; as the sink does by default'),
})

/**
 * Hashes the bytes that pass, and writes a file that sha256sum -c and the like read. Errors: USAGE, FAILED.
 *
 *     await definePipeline([source({ from: 'vm.vma' }), hash({ method: 'sha256' }), sink({ to: 'copy.vma' })]).run()
 */
export const hash = defineStage({
  name: 'hash',
  summary: 'writes SHA-256, SHA-512, BLAKE2b or XXH3 of the bytes into a file for sha256sum -c',
  input: 'bytes',
  output: 'same',
  options,
  create: (given, context) => new Hash(given, context),
  misplaced({ to }, stages, index) {
    const isOpen = stages.at(-1)!.definition.output !== 'nothing'
    return to !== undefined || isOpen || destinationBehind(stages, index) !== null ? null : NO_PLACE
  },
})

const NO_PLACE = {
  message: 'what it hashes is not what is in a file beside which the hash could be written',
  hint: 'put it right before the sink of a file, or name a file for the hash by `to:`',
}

interface Work {
  method: Method
  hasher: Hasher
  target: ArchiveTarget
}

class Hash implements TransformBody<Chunk, Item> {
  readonly #works: Work[]
  /** The name of the archive in the files. */
  readonly #name: string

  constructor({ method, to, force }: z.output<typeof options>, context: StageContext) {
    const { destination, signal, warn, atSuccess, atEnd } = context
    if (to === undefined && destination === null)
      throw new VmapipeError('USAGE', NO_PLACE.message, { hint: NO_PLACE.hint })
    const isForced = force ?? destination?.force ?? false
    this.#works = method.map((name) => {
      const { ending, create } = METHODS[name]
      const place = to !== undefined && method.length === 1 ? to : (to ?? destination!.place) + ending
      const target = archiveTarget(place, { force: isForced, signal, warn })
      return { method: METHODS[name], hasher: create(), target }
    })
    this.#name = nameFor(destination, to)
    atSuccess(() => this.#publish())
    atEnd(async () => {
      for (const { target } of this.#works) await target.abort()
    })
  }

  /** Refuses now what could not be written when the archive is complete. */
  async open(): Promise<void> {
    for (const { target } of this.#works) await target.open()
  }

  transform(chunk: Chunk, push: (chunk: Chunk) => void): void {
    for (const { hasher } of this.#works) for (const bytes of chunk.buffers) hasher.update(bytes)
    push(chunk)
  }

  async #publish(): Promise<void> {
    for (const { method, hasher, target } of this.#works) {
      await target.write([Buffer.from(hashFile(method, hasher.finish(), this.#name))])
      await target.finish()
    }
  }
}

/** The archive's name as the check programs look for it: `-` is their standard input, and a file elsewhere has its whole path. */
function nameFor(destination: Destination | null, to: string | undefined): string {
  if (destination === null) return '-'
  const archive = parsePlace(destination.place)
  const hashes = to === undefined ? null : parsePlace(to)
  const isElsewhere =
    hashes?.kind === 'file' && archive.kind === 'file' && dirname(hashes.path) !== dirname(archive.path)
  return isElsewhere ? resolve(archive.path) : fileName(destination.place)
}
