/**
 * The place of an archive, as a user writes it: a path, `-` for standard input or output, `ssh://[user@]host[:port]/path`
 * (`/~/path` counts from the home folder there), `s3://bucket/key`, or `exec:COMMAND` for a shell command.
 */

import { posix } from 'node:path'
import { VmapipeError } from '../../core/errors.ts'
import { parseS3, type S3Place, s3Name } from './s3/s3-url.ts'

export interface SshPlace {
  kind: 'ssh'
  user: string | undefined
  host: string
  port: number | undefined
  /** The path for the remote side: absolute, or relative to the home folder. Any bytes but NUL. */
  path: Buffer
}

/** A file on another host, or an object in a bucket. */
export type FarPlace = SshPlace | S3Place

type ArchivePlace =
  | { kind: 'file'; path: string }
  | { kind: 'stdio' }
  | { kind: 'exec'; command: string }
  | SshPlace
  | S3Place

/** The kind of a place in a word or two, for statistics. A place that is no text is a stream. */
export function mediumOf(place: unknown): string {
  if (typeof place !== 'string') return 'a stream'
  if (place === '-') return 'a pipe'
  if (place.startsWith('exec:')) return 'a command'
  if (place.startsWith('s3:')) return 's3'
  return place.startsWith('ssh:') ? 'ssh' : 'a file'
}

/** Reads a place. Throws USAGE if the text has no meaning. */
export function parsePlace(spec: string): ArchivePlace {
  if (spec === '-') return { kind: 'stdio' }
  if (spec.includes('\0')) throw usage(`'${spec}' has a NUL byte in it`, 'give a name without it')
  if (spec.startsWith('exec:')) {
    const command = spec.slice('exec:'.length)
    if (command.trim() === '') throw usage("'exec:' names no command", "write exec:COMMAND, such as exec:'cat > x.vma'")
    return { kind: 'exec', command }
  }
  if (spec.startsWith('ssh:')) return parseSsh(spec)
  if (spec.startsWith('s3:')) return parseS3(spec)
  refuseOtherTools(spec)
  if (spec === '' || spec.endsWith('/')) throw usage(`'${spec}' is not the name of a file`, 'name a file in it')
  return { kind: 'file', path: spec }
}

/** What to write instead of places that other tools know, by scheme. */
const ELSEWHERE: Record<string, string> = {
  s3: 'write s3:// in small letters',
  sftp: 'write ssh://[user@]host/path; the account needs a shell that runs commands',
  scp: 'write ssh://[user@]host/path',
  rsync: 'write ssh://[user@]host/path, or a path of a mounted folder',
  http: "pipe it through curl, such as exec:'curl -fsS URL'",
  https: "pipe it through curl, such as exec:'curl -fsS URL'",
  file: 'write the path alone',
}

/** Throws USAGE for URLs and host:path as other tools take them. A file of such a name is written as ./NAME. */
function refuseOtherTools(spec: string): void {
  const known = 'a path, -, ssh://[user@]host[:port]/path, s3://bucket/name and exec:COMMAND are supported'
  const [, scheme] = /^([A-Za-z][A-Za-z0-9+.-]*):\/\//.exec(spec) ?? []
  if (scheme !== undefined) {
    throw usage(`${scheme}:// is not supported ('${spec}')`, ELSEWHERE[scheme.toLowerCase()] ?? known)
  }
  // A name with a time in it, such as vm-13:05.vma, is a file.
  const [, host, path] = /^([^@/:\s]+@[^/:\s]+|[^@/:\s]+(?=:[/~])):(.+)$/s.exec(spec) ?? []
  if (host === undefined) return
  const place = path.startsWith('/') ? path : `/~/${path}`
  throw usage(`'${spec}' could be a host and a path, or a file`, `write ssh://${host}${place}, or ./${spec} for a file`)
}

const SSH = /^ssh:\/\/(?:([^@/]*)@)?(\[[^\]/]+\]|[^:@/[\]]+)(?::([0-9]+))?\/(.*)$/s

function parseSsh(spec: string): SshPlace {
  const match = SSH.exec(spec)
  if (match === null)
    throw usage(`'${spec}' is not ssh://[user@]host[:port]/path`, 'such as ssh://backup@nas/srv/vm.vma.zst')
  const [, user, bracketed, portText, rest] = match
  const host = decode(bracketed.replace(/^\[|\]$/g, ''), spec).toString()
  const name = user === undefined ? undefined : decode(user, spec).toString()
  // ssh would take a host or user that begins with - for an option.
  for (const word of [host, name]) {
    if (word !== undefined && !/^[^-\s][^\s]*$/.test(word))
      throw usage(`'${word}' is not the name of a host or user`, 'check the URL')
  }
  const port = portText === undefined ? undefined : Number(portText)
  if (port !== undefined && (port < 1 || port > 65535)) throw usage(`${portText} is not a port`, 'it is 1 to 65535')
  return { kind: 'ssh', user: name, host, port, path: remotePath(decode(rest, spec), spec) }
}

/** `~/x` is x in the home folder, where the remote side starts; everything else counts from the root. */
function remotePath(rest: Buffer, spec: string): Buffer {
  const inHome = rest.subarray(0, 2).toString('latin1') === '~/'
  const path = inHome ? Buffer.concat([Buffer.from('./'), rest.subarray(2)]) : Buffer.concat([Buffer.from('/'), rest])
  if (path.at(-1) === 0x2f) throw usage(`'${spec}' does not name a file`, 'name a file in the remote folder')
  if (path.includes(0)) throw usage(`'${spec}' has a NUL byte in it`, 'give a name without it')
  return path
}

/** Percent-encoding (RFC 3986, section 2.1), to bytes: a remote name need not be UTF-8. */
function decode(text: string, spec: string): Buffer {
  const parts = text.split(/(%[0-9A-Fa-f]{2})/)
  const stray = parts.some((part, index) => index % 2 === 0 && part.includes('%'))
  if (stray) throw usage(`'${spec}' has a % that begins no two hexadecimal digits`, 'write %25 for a % itself')
  return Buffer.concat(
    parts.map((part, index) => (index % 2 === 0 ? Buffer.from(part) : Buffer.from(part.slice(1), 'hex'))),
  )
}

function usage(message: string, hint: string): VmapipeError {
  return new VmapipeError('USAGE', message, { hint })
}

/** The place as a user writes it. */
export function placeText(place: FarPlace): string {
  if (place.kind === 's3') return s3Name(place)
  const { user, host, port, path } = place
  const account = user === undefined ? '' : `${encodeURIComponent(user)}@`
  const name = host.includes(':') ? `[${host}]` : encodeURIComponent(host)
  const bytes = [...path.toString('latin1').replace(/^\.\//, '/~/')]
  const encoded = bytes.map((char) =>
    /[\w./~-]/.test(char) ? char : `%${Buffer.from(char, 'latin1').toString('hex')}`,
  )
  return `ssh://${account}${name}${port === undefined ? '' : `:${port}`}${encoded.join('')}`
}

/** The place in words, for messages. */
export function remoteName({ path, host }: SshPlace): string {
  return `'${path.toString().replace(/^\.\//, '~/')}' on ${host}`
}

/** Whether the place is a file here or on another host or an object, so that a file may be put beside it. */
export function hasName(spec: string): boolean {
  try {
    const { kind } = parsePlace(spec)
    return kind === 'file' || kind === 'ssh' || kind === 's3'
  } catch {
    return false // The error comes when it is opened.
  }
}

/** The name of the file at a place that has one, without its folder. */
export function fileName(spec: string): string {
  const place = parsePlace(spec)
  if (place.kind === 'ssh') return posix.basename(place.path.toString())
  if (place.kind === 's3') return posix.basename(place.key)
  return place.kind === 'file' ? posix.basename(place.path) : spec
}
