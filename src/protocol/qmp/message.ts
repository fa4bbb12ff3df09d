/**
 * Messages of a QMP server, one JSON object a line ("QEMU Machine Protocol Specification", section 2: greeting, success, error,
 * event). They are checked as far as the protocol goes. The caller of a command checks what it returns.
 */

import { VmapipeError } from '../../core/errors.ts'
import { isCount, isObject, type Json, textOf } from '../json.ts'

export interface QmpVersion {
  major: number
  minor: number
  micro: number
  /** The distribution's name of its build. It may be empty. */
  package: string
}

export interface QmpEvent {
  event: string
  data: Json
  /** When it happened: seconds since 1970, by the server's clock; -1 if the server does not know. */
  seconds: number
}

export type QmpMessage =
  | { kind: 'greeting'; version: QmpVersion }
  | { kind: 'return'; id: unknown; value: unknown }
  | { kind: 'error'; id: unknown; class: string; desc: string }
  | { kind: 'event'; event: QmpEvent }

/** Characters of a wrong message that an error quotes. */
const QUOTED = 60

/** Throws FAILED if the line is no message of the protocol. */
export function parseMessage(line: string): QmpMessage {
  const message = parseJson(line)
  if ('return' in message) return { kind: 'return', id: message.id, value: message.return }
  if (isObject(message.error)) {
    const { class: kind, desc } = message.error
    return { kind: 'error', id: message.id, class: textOf(kind) ?? 'unknown', desc: textOf(desc) ?? 'no description' }
  }
  if (typeof message.event === 'string') {
    const { event, data, timestamp } = message
    return { kind: 'event', event: { event, data: isObject(data) ? data : {}, seconds: seconds(timestamp) } }
  }
  if (isObject(message.QMP)) return { kind: 'greeting', version: parseVersion(message.QMP.version) }
  throw violation(`'${line.slice(0, QUOTED)}' is neither greeting, answer nor event`)
}

/** Parses the version of a greeting, or what `query-version` returns. */
export function parseVersion(value: unknown): QmpVersion {
  const { qemu, package: build } = isObject(value) ? value : {}
  const { major, minor, micro } = isObject(qemu) ? qemu : {}
  if (!isCount(major) || !isCount(minor) || !isCount(micro)) throw violation('it does not tell its version')
  return { major, minor, micro, package: textOf(build)?.trim() ?? '' }
}

/** The error of a peer that does not keep to the protocol, or is not a QMP server at all. */
export function violation(message: string): VmapipeError {
  return new VmapipeError('FAILED', `the QMP server does not keep to the protocol: ${message}`)
}

function parseJson(line: string): Json {
  let value: unknown
  try {
    value = JSON.parse(line)
  } catch (cause) {
    const pretty = line.trim() === '{'
    const hint = pretty ? 'it wraps its lines; start QEMU with -qmp, or with -mon … without pretty=on' : undefined
    const message = `'${line.slice(0, QUOTED)}' is not JSON`
    throw new VmapipeError('FAILED', `the QMP server does not keep to the protocol: ${message}`, { hint, cause })
  }
  if (!isObject(value)) throw violation(`'${line.slice(0, QUOTED)}' is not an object`)
  return value
}

function seconds(timestamp: unknown): number {
  const { seconds = -1, microseconds = 0 } = isObject(timestamp) ? timestamp : {}
  if (typeof seconds !== 'number' || typeof microseconds !== 'number' || seconds < 0) return -1
  return seconds + Math.max(microseconds, 0) / 1e6
}
