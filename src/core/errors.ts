/**
 * The one error class of vmapipe. `code` is stable and decides the exit code. `stage` and `where` name the part of the pipeline
 * and the bytes. `hint` says what to do.
 */

/**
 * The kinds of errors, and the exit code of the command line for each.
 *
 *     process.exitCode = EXIT_CODES.DAMAGED
 */
export const EXIT_CODES = {
  FAILED: 1, //      something in the outside world: a disk, a network, a peer, another program
  STAGE: 1, //       a stage broke its contract
  USAGE: 2, //       a command line that makes no sense
  CONFIG: 2, //      a pipeline config that makes no sense
  DAMAGED: 3, //     the archive is not what it claims to be
  INCOMPLETE: 3, //  the archive ends too early
  ABORTED: 130, //   the user (or a signal) ended it
} as const

/** A kind of error: a name in EXIT_CODES. */
export type ErrorCode = keyof typeof EXIT_CODES

/** Where the error happened. `offset` is in bytes, in the stream that the stage reads, unless the message says otherwise. */
export interface Where {
  file?: string
  drive?: string
  cluster?: number
  offset?: number
}

/** What an error knows besides its message. */
export interface ErrorDetails extends Where {
  stage?: string
  hint?: string
  cause?: unknown
}

/**
 * The one class of errors. `code` is stable and decides the exit code. `stage` and `where` name the part of the pipeline and the
 * bytes. `hint` says what to do.
 *
 *     try {
 *       await verify({ from: 'vm.vma' })
 *     } catch (error) {
 *       if (error instanceof VmapipeError) console.error(error.code, error.line)
 *     }
 */
export class VmapipeError extends Error {
  override name = 'VmapipeError'
  readonly code: ErrorCode
  readonly where: Where
  readonly hint: string | undefined
  /** The stage that failed. The runner fills it in if the error has none. */
  stage: string | undefined
  /** Errors of the clean-up that followed. The first error is the one that is reported. */
  readonly suppressed: unknown[] = []

  constructor(code: ErrorCode, message: string, { stage, hint, cause, ...where }: ErrorDetails = {}) {
    super(message, cause === undefined ? undefined : { cause })
    this.code = code
    this.stage = stage
    this.hint = hint
    this.where = where
  }

  get exitCode(): number {
    return EXIT_CODES[this.code]
  }

  /** One line for people: the stage, what failed, where, and what to do. */
  get line(): string {
    return this.stage === undefined ? this.text : `${this.stage}: ${this.text}`
  }

  /** The same without the stage, for users whose command names no stages. */
  get text(): string {
    const { file, drive, cluster, offset } = this.where
    const where = [
      // Most messages name their file already.
      file !== undefined && !this.message.includes(`'${file}'`) && `file ${printable(file)}`,
      drive !== undefined && `drive ${clipped(drive, LONGEST_NAME)}`,
      cluster !== undefined && `cluster ${cluster}`,
      offset !== undefined && `byte ${offset}`,
    ].filter(Boolean)
    const place = where.length > 0 ? ` (${where.join(', ')})` : ''
    const hint = this.hint === undefined ? '' : `; ${clipped(this.hint, LONGEST_TEXT)}`
    return `${clipped(this.message, LONGEST_TEXT)}${place}${hint}`
  }
}

/** Characters of a message that are shown. Text from an archive or a peer may be very long: a name 64 KiB, an answer of QEMU 16 MiB. */
const LONGEST_TEXT = 1000
const LONGEST_NAME = 200

/** The text in printable form, cut at `most` characters. */
function clipped(text: string, most: number): string {
  // Escaping makes text longer, never shorter.
  const shown = printable(text.slice(0, most + 1))
  return shown.length > most ? `${shown.slice(0, most)}…` : shown
}

/**
 * Escapes what must not reach a terminal. Names come from archives and peers: they must not move the cursor or break the
 * line. Bytes that are not valid UTF-8 (byte-text.ts) are shown as `\xe4`.
 */
export function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Cs}\u2028\u2029]/gu, (c) => {
    const code = c.codePointAt(0)!
    return code >= 0xdc80 && code <= 0xdcff ? `\\x${(code - 0xdc00).toString(16)}` : `\\u{${code.toString(16)}}`
  })
}

/** A name that can be typed and sent to others. A name that is not valid UTF-8 is given as it is printed. */
export function typableName(name: string): string {
  return name.isWellFormed() ? name : printable(name)
}

/** Makes a VmapipeError of any thrown value. A system error keeps its text and becomes the cause. */
export function asVmapipeError(error: unknown, details: ErrorDetails = {}): VmapipeError {
  if (error instanceof VmapipeError) return error
  const cause = error as NodeJS.ErrnoException
  if (cause?.name === 'AbortError' || cause?.code === 'ABORT_ERR') {
    return new VmapipeError('ABORTED', 'aborted', { ...details, cause: error })
  }
  return new VmapipeError('FAILED', describe(cause), { ...details, cause: error })
}

/** The texts of the C library, which search engines know. */
const SYSTEM_ERRORS: Record<string, string> = {
  ENOENT: 'no such file or directory',
  EACCES: 'permission denied',
  EPERM: 'operation not permitted',
  ENOSPC: 'no space left on device',
  EDQUOT: 'disk quota exceeded',
  EFBIG: 'file too large',
  EEXIST: 'file exists',
  EISDIR: 'is a directory',
  ENOTDIR: 'not a directory',
  EIO: 'input/output error',
  EPIPE: 'broken pipe',
  ECONNREFUSED: 'connection refused',
  ECONNRESET: 'connection reset by peer',
  EROFS: 'read-only file system',
  EBUSY: 'device or resource busy',
  ELOOP: 'too many levels of symbolic links',
  ETIMEDOUT: 'connection timed out',
  EHOSTUNREACH: 'no route to host',
}

/** Makes "no space left on device: write '/x/y' (ENOSPC)" of Node's error for a system call. */
export function describe(error: NodeJS.ErrnoException): string {
  const text = error?.code === undefined ? undefined : SYSTEM_ERRORS[error.code]
  if (text === undefined) return String(error?.message ?? error)
  const what = [error.syscall, error.path && `'${error.path}'`].filter(Boolean).join(' ')
  return `${text}${what && `: ${what}`} (${error.code})`
}
