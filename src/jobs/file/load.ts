/**
 * Loads a job file. It says which commands are run, often by root, so nobody else may have been able to write it. All errors in it are
 * CONFIG, with file, line, column and path.
 */

import { realpath } from 'node:fs/promises'
import { basename, dirname, isAbsolute, resolve } from 'node:path'
import { parseConfig, pathText } from '../../config/document.ts'
import { refuseUntrusted } from '../../config/trusted-file.ts'
import { describe, printable, VmapipeError } from '../../core/errors.ts'
import { type Problem, problemsOf } from '../../core/problems.ts'
import { readSmallFile } from '../../storage/config-file.ts'
import { knownKeys } from './json-schema.ts'
import { checkJob } from './rules.ts'
import { type Job, jobSchema } from './schema.ts'
import { withoutUnions } from './union-issues.ts'

/** The largest job file: hundreds of guests can be named one by one. */
const MOST_BYTES = 256 << 10

/** A job has a name that stands in file names of units, metrics and state. */
const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/
const SUFFIX = /\.(ya?ml|json)$/

/**
 * Loads a job file, YAML or JSON. The job has the name of its file. Errors: CONFIG, with file, line and column of what is wrong, and the
 * other problems in `suppressed`; also CONFIG for a file that somebody else than root or this user may write.
 *
 *     const { name, to } = await loadJob('/etc/vmapipe/jobs/nightly.yaml')
 *     console.log(name, to.map(({ place }) => place))
 */
export async function loadJob(path: string): Promise<Job> {
  const file = await realpath(path).catch((cause) => {
    throw new VmapipeError('CONFIG', `cannot read the job file: ${describe(cause)}`, { file: path, cause })
  })
  await refuseUntrusted(file, []).catch(({ message }) => {
    throw new VmapipeError('CONFIG', `the job file '${printable(path)}' cannot be trusted: ${message}`, {
      hint: 'it names commands that are run: only root and you may be able to write it (chown, chmod go-w)',
    })
  })
  return readJob(resolve(path), await readText(file))
}

/** Reads the text of a job file. `file` is its path, for messages, for the name, and for paths in it. */
export function readJob(file: string, text: string): Job {
  return readJobDocument(file, text).job
}

interface JobDocument {
  job: Job
  /** What the text says, before it was checked. */
  value: Readonly<Record<string, unknown>>
  /** The error of these problems, with file, line and column. */
  fail(problems: readonly Problem[]): VmapipeError
}

/** The same with what those need who have rules of their own. `others`: keys at the top that they read themselves. */
export function readJobDocument(file: string, text: string, others: readonly string[] = []): JobDocument {
  const name = basename(file).replace(SUFFIX, '')
  if (!NAME.test(name)) {
    throw new VmapipeError('CONFIG', `'${printable(name)}' cannot be the name of a job`, {
      hint: 'name the file with letters, digits, dots, dashes and underscores, such as nightly.yaml',
    })
  }
  const document = parseConfig(file, text)
  const fail = (problems: readonly Problem[]): VmapipeError => {
    const errors = problems.map(({ path, key, message, hint }) => {
      const what = path.length === 0 ? message : `${pathText(path)}: ${message}`
      return new VmapipeError('CONFIG', `${file}:${document.position(path, key)}: ${what}`, { hint })
    })
    errors[0].suppressed.push(...errors.slice(1))
    return errors[0]
  }
  const { value } = document
  if (value === null || typeof value !== 'object' || Array.isArray(value))
    throw fail([{ path: [], message: 'expected a map with `guests:` and `to:`' }])
  const own = Object.fromEntries(Object.entries(value).filter(([key]) => !others.includes(key)))
  const checked = jobSchema.safeParse(own)
  if (!checked.success) throw fail(problemsOf(withoutUnions(checked.error, own), own, knownKeys))
  const job = { ...checked.data, name, file }
  const problems = checkJob(job)
  if (problems.length > 0) throw fail(problems)
  return { job, value: value as Record<string, unknown>, fail }
}

/** A path in the job file: it counts from the folder of the file. */
export function pathIn(job: Pick<Job, 'file'>, path: string): string {
  return isAbsolute(path) ? path : resolve(dirname(job.file), path)
}

async function readText(file: string): Promise<string> {
  try {
    const bytes = await readSmallFile(file, MOST_BYTES)
    if (bytes.length > MOST_BYTES) throw new Error('larger than 256 KiB, this is no job file')
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch (cause) {
    throw new VmapipeError('CONFIG', `cannot read the job file: ${describe(cause as Error)}`, { file, cause })
  }
}
