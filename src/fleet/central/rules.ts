/**
 * Checks a central job: a job file that the planner gives to hosts. A planner that was taken over must not be able to run anything on
 * a host, or to read a file of it by a path. So both check it: the planner when somebody writes it, and each agent when it gets it.
 */

import * as z from 'zod'
import { printable, VmapipeError } from '../../core/errors.ts'
import type { Path, Problem } from '../../core/problems.ts'
import { readJobDocument } from '../../jobs/file/load.ts'
import type { GuestEntry, Job, PlaceEntry } from '../../jobs/file/schema.ts'
import { label } from '../messages/hello.ts'
import { jobName } from '../messages/inventory.ts'
import { CENTRAL_FIELDS, CONNECT_URIS } from './fields.ts'

/** A job for many hosts. */
export interface CentralJobFile {
  job: Job
  /** It is for the hosts that have one of these labels. */
  hosts: string[]
}

const labels = z.union([label, z.array(label).min(1).max(100)])

/** Only public keys of age: other recipients are names of files or of programs. */
const RECIPIENT = /^age1[a-z0-9]{20,3000}$/

/** Throws CONFIG, with line and column, for what a central job cannot have. `name`: that of the job. */
export function checkCentralJob(name: string, text: string): CentralJobFile {
  if (!jobName.safeParse(name).success) {
    throw new VmapipeError('CONFIG', `'${printable(name)}' cannot be the name of a job`, {
      hint: 'write it with letters, digits, dots, dashes and underscores, such as nightly',
    })
  }
  const { job, value, fail } = readJobDocument(`${name}.yaml`, text, ['hosts'])
  const hosts = labels.safeParse(value.hosts)
  const problems = [
    ...(hosts.success ? [] : [hostsProblem(value.hosts)]),
    ...strangeKeys(value, CENTRAL_FIELDS.top, []),
    ...connectProblems(job.connect, ['connect']),
    ...dashProblems(job, ['exclude-drives'], []),
    ...listOf(value.guests).flatMap((entry, at) => strangeKeys(entry, CENTRAL_FIELDS.guest, ['guests', at])),
    ...job.guests.flatMap((entry, at) => guestProblems(entry, ['guests', at])),
    // A single place need not be in a list.
    ...[value.to].flat().flatMap((entry, at) => strangeKeys(entry, CENTRAL_FIELDS.place, placePath(value.to, at))),
    ...job.to.flatMap((entry, at) => placeProblems(entry, placePath(value.to, at))),
  ]
  if (problems.length > 0) throw fail(problems)
  return { job, hosts: [hosts.data!].flat() }
}

function hostsProblem(hosts: unknown): Problem {
  if (hosts === undefined)
    return {
      path: [],
      message: 'hosts is missing',
      hint: 'name the labels of the hosts that it is for: hosts: [rack-2]',
    }
  return { path: ['hosts'], message: 'expected labels of hosts, such as [rack-2, zone=berlin]' }
}

function listOf(value: unknown): unknown[] {
  return Array.isArray(value) ? value : []
}

function placePath(to: unknown, at: number): Path {
  return Array.isArray(to) ? ['to', at] : ['to']
}

const WHY = 'a central job runs nothing and names no file of a host'

function strangeKeys(value: unknown, allowed: readonly string[], path: Path): Problem[] {
  if (typeof value !== 'object' || value === null) return []
  return Object.keys(value)
    .filter((key) => !allowed.includes(key))
    .map((key) => ({
      path,
      key,
      message: `a central job cannot have '${key}'`,
      hint: `${WHY}; write a job file on the host`,
    }))
}

function connectProblems(connect: string | undefined, path: Path): Problem[] {
  if (connect === undefined || CONNECT_URIS.includes(connect)) return []
  return [{ path, message: `a central job connects to ${CONNECT_URIS.join(' or ')} alone`, hint: WHY }]
}

function guestProblems(entry: GuestEntry, path: Path): Problem[] {
  const problems = connectProblems(entry.connect, [...path, 'connect'])
  if (entry.drives !== undefined && !Array.isArray(entry.drives))
    problems.push({ path: [...path, 'drives'], message: 'drives at rest are in a job file of their host', hint: WHY })
  for (const kind of ['qmp', 'attach'] as const) {
    if (entry[kind]?.some((pattern) => !isPlainPath(pattern)))
      problems.push({ path: [...path, kind], message: "expected whole paths of sockets, without '..'" })
  }
  for (const key of ['libvirt', 'qmp', 'attach', 'exclude'] as const) {
    if (entry[key]?.some((pattern) => !isQuickPattern(pattern)))
      problems.push({
        path: [...path, key],
        message: `a pattern of a central job has at most ${MOST_WILDCARDS} wildcards, and no { or (`,
        hint: 'write several patterns',
      })
  }
  return [...problems, ...dashProblems(entry, ['libvirt', 'exclude-drives', 'drives', 'name'], path)]
}

/** A word of a command line begins with a dash: a name of a central job never does. */
function dashProblems<F extends object>(fields: F, keys: readonly (keyof F & string)[], path: Path): Problem[] {
  return keys
    .filter((key) => [fields[key]].flat().some((word) => typeof word === 'string' && word.startsWith('-')))
    .map((key) => ({ path: [...path, key], message: 'a name cannot begin with a dash in a central job' }))
}

/** Wildcards beyond these can take a host hours to compare with one long name, and alternatives in braces become billions of patterns. */
const MOST_WILDCARDS = 4
const LONGEST_PATTERN = 1000

/** Braces also make `..` of parts that are none. */
function isQuickPattern(pattern: string): boolean {
  const wildcards = pattern.match(/\*+/g)?.length ?? 0
  return pattern.length <= LONGEST_PATTERN && wildcards <= MOST_WILDCARDS && !/\{|[*?+@!]\(/.test(pattern)
}

/** Whether nothing in the path leads elsewhere than it seems to. */
export function isPlainPath(path: string): boolean {
  return path.startsWith('/') && hasPlainParts(path)
}

function hasPlainParts(path: string): boolean {
  return path.split('/').every((part) => part !== '..' && part !== '.')
}

function placeProblems({ place, recipients = [] }: PlaceEntry, path: Path): Problem[] {
  const problems: Problem[] = []
  const isRemote = place.startsWith('ssh://') || place.startsWith('s3://')
  if (!isRemote && !place.startsWith('/'))
    problems.push({ path, message: `'${place}' is no whole path`, hint: 'write /srv/backup, ssh:// or s3://' })
  // %2e%2e is .. too, and nobody needs to write a letter like this.
  if (!hasPlainParts(place) || /%(2e|2f|5c|00)/i.test(place) || /[\p{Cc}]/u.test(place))
    problems.push({ path, message: `'${place}' is no plain place`, hint: "write it without '..' and '.'" })
  if (recipients.some((recipient) => !RECIPIENT.test(recipient)))
    problems.push({ path, message: 'recipients of a central job are public keys of age (age1…)', hint: WHY })
  return problems
}
