/** The hash functions of the stage `hash`, and the lines by which other programs check what they give. */

import { createHash } from 'node:crypto'
import { VmapipeError } from '../../core/errors.ts'
import { native, requireCompiled } from '../../system/native.ts'

export interface Hasher {
  update(bytes: Uint8Array): unknown
  /** The digest in hexadecimal digits. */
  finish(): string
}

export interface Method {
  /** What is added to the archive's name. */
  ending: string
  /** Throws FAILED if this computer cannot do it. */
  create(): Hasher
  /** The line for one file, without the line break. */
  line(digest: string, name: string): string
}

export const METHOD_NAMES = ['sha256', 'sha512', 'blake2b', 'xxh3'] as const

export const METHODS: Record<(typeof METHOD_NAMES)[number], Method> = {
  sha256: { ending: '.sha256', create: () => byOpenssl('sha256'), line: gnuLine },
  sha512: { ending: '.sha512', create: () => byOpenssl('sha512'), line: gnuLine },
  blake2b: { ending: '.b2', create: () => byOpenssl('blake2b512'), line: gnuLine },
  // The form of BSD, which names the function: xxhsum gives no other one for XXH3.
  xxh3: { ending: '.xxh3', create: xxh3, line: (digest, name) => `XXH3 (${name}) = ${digest}` },
}

/** The form of sha256sum, sha512sum and b2sum. */
function gnuLine(digest: string, name: string): string {
  return `${digest}  ${name}`
}

/** The text of a file of hashes. As in coreutils, a backslash before a line says that line breaks in its name are escaped. */
export function hashFile(method: Method, digest: string, name: string): string {
  if (!/[\n\r]/.test(name)) return `${method.line(digest, name)}\n`
  const escaped = name.replaceAll('\\', '\\\\').replaceAll('\n', '\\n').replaceAll('\r', '\\r')
  return `\\${method.line(digest, escaped)}\n`
}

function byOpenssl(name: string): Hasher {
  const hash = createHash(name)
  return { update: (bytes) => hash.update(bytes), finish: () => hash.digest('hex') }
}

interface Compiled {
  xxh3: { Xxh3: { withSeed(): { update(bytes: Uint8Array): unknown; digest(): bigint } } }
}

const compiled = native(() => requireCompiled('@node-rs/xxhash') as Compiled)

function xxh3(): Hasher {
  const code = compiled()
  if (code === null) {
    throw new VmapipeError('FAILED', 'XXH3 needs the package @node-rs/xxhash, which cannot be loaded', {
      hint: 'install it (npm install @node-rs/xxhash), or choose sha256, sha512 or blake2b',
    })
  }
  const hash = code.xxh3.Xxh3.withSeed()
  return { update: (bytes) => hash.update(bytes), finish: () => hash.digest().toString(16).padStart(16, '0') }
}
