/**
 * One error class for everything that can go wrong. `code` is stable and decides the exit code;
 * `stage` and `where` say which part of the pipeline and which bytes; `hint` says what to do.
 */

/** What went wrong, by kind, and the exit code of the command line for it. */
export const EXIT_CODES = {
  FAILED: 1, //      something in the outside world: a disk, a network, a peer, another program
  STAGE: 1, //       a stage broke its contract
  USAGE: 2, //       a command line that makes no sense
  CONFIG: 2, //      a pipeline config that makes no sense
  DAMAGED: 3, //     the archive is not what it claims to be
  INCOMPLETE: 3, //  the archive ends too early
  ABORTED: 130, //   the user (or a signal) ended it
} as const

export type ErrorCode = keyof typeof EXIT_CODES

/** Where it happened. Offsets are bytes; `offset` is in the stream that the stage reads, unless the message says otherwise. */
export interface Where {
  file?: string
  drive?: string
  cluster?: number
  offset?: number
}

export interface ErrorDetails extends Where {
  stage?: string
  hint?: string
  cause?: unknown
}

export class VmapipeError extends Error {
  override name = 'VmapipeError'
  readonly code: ErrorCode
  readonly where: Where
  readonly hint: string | undefined
  /** The stage that failed; the runner fills it in where the thrower did not. */
  stage: string | undefined
  /** Errors of the clean-up that followed; the first error stays the one that is reported. */
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

  /** One line for people: stage, what, where, what to do. */
  get line(): string {
    return this.stage === undefined ? this.text : `${this.stage}: ${this.text}`
  }

  /** The same without the stage, for people who have named none. */
  get text(): string {
    const { file, drive, cluster, offset } = this.where
    const where = [
      // Most messages name the file that they are about.
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

/** What is quoted may be as long as an archive or a peer likes: a name 64 KiB, an answer of QEMU's 16 MiB. */
const LONGEST_TEXT = 1000
const LONGEST_NAME = 200

/** Printable, as long as it is then. */
function clipped(text: string, most: number): string {
  // What is escaped becomes longer, never shorter.
  const shown = printable(text.slice(0, most + 1))
  return shown.length > most ? `${shown.slice(0, most)}…` : shown
}

/**
 * Names come out of archives and from peers: nothing of them may move a terminal's cursor or break the one line. Bytes that are
 * no UTF-8 (byte-text.ts) are shown as `\xe4`.
 */
export function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Cs}\u2028\u2029]/gu, (c) => {
    const code = c.codePointAt(0)!
    return code >= 0xdc80 && code <= 0xdcff ? `\\x${(code - 0xdc00).toString(16)}` : `\\u{${code.toString(16)}}`
  })
}

/** A name that can be typed and sent to others: as it is printed if it is no UTF-8. */
export function typableName(name: string): string {
  return name.isWellFormed() ? name : printable(name)
}

/** Any thrown value as a VmapipeError; a system error keeps its text and becomes the cause. */
export function asVmapipeError(error: unknown, details: ErrorDetails = {}): VmapipeError {
  if (error instanceof VmapipeError) return error
  const cause = error as NodeJS.ErrnoException
  if (cause?.name === 'AbortError' || cause?.code === 'ABORT_ERR') {
    return new VmapipeError('ABORTED', 'aborted', { ...details, cause: error })
  }
  return new VmapipeError('FAILED', describe(cause), { ...details, cause: error })
}

/** In the words of the C library, which search engines know. */
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

/** "no space left on the target: write '/x/y' (ENOSPC)" out of Node's error for a system call. */
export function describe(error: NodeJS.ErrnoException): string {
  const text = error?.code === undefined ? undefined : SYSTEM_ERRORS[error.code]
  if (text === undefined) return String(error?.message ?? error)
  const what = [error.syscall, error.path && `'${error.path}'`].filter(Boolean).join(' ')
  return `${text}${what && `: ${what}`} (${error.code})`
}
