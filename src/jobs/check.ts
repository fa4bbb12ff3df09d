/** Tells before the night what would go wrong in it. */

import { access, constants, mkdir, stat, statfs } from 'node:fs/promises'
import { dirname } from 'node:path'
import { Keyring } from '../codecs/age/keyring.ts'
import { makeHeader } from '../codecs/age/keys.ts'
import { loadPipeline } from '../config/load.ts'
import { asVmapipeError } from '../core/errors.ts'
import { formatBytes } from '../core/size.ts'
import { readAgeHeader } from '../formats/age/header.ts'
import type { Encryption } from '../operations/write-archive.ts'
import { parsePlace } from '../storage/archive/spec.ts'
import { findProgram } from '../system/child.ts'
import { pathIn } from './file/load.ts'
import type { Job, PlaceEntry } from './file/schema.ts'
import { findGuests } from './guests/find.ts'
import type { Guest } from './guests/guest.ts'
import { isGone } from './guests/presence.ts'
import { sealingOf } from './run/backup-task.ts'
import { baseOf, isRequired, probeAll } from './run/places.ts'
import { nextTimes } from './schedule.ts'
import type { JobState } from './state/job-state.ts'

/** One thing that was looked at. A `warning` is no reason to expect that the night fails. */
export interface Finding {
  level: 'good' | 'warning' | 'error'
  text: string
}

interface CheckOptions {
  state: JobState
  signal: AbortSignal
  /** Milliseconds since 1970. */
  now: number
}

/** All that can be known before a run. Errors: ABORTED. */
export async function checkWholeJob(job: Job, { state, signal, now }: CheckOptions): Promise<Finding[]> {
  const { guests, errors, warnings } = await findGuests(job, signal)
  return [
    ...errors.map((text): Finding => ({ level: 'error', text })),
    ...warnings.map((text): Finding => ({ level: 'warning', text })),
    ...(await guestFindings(guests)),
    ...(await placeFindings(job)),
    ...(await roomFindings(job, guests, state)),
    ...(await keyFindings(job)),
    ...(await pipelineFindings(job)),
    ...hookFindings(job),
    ...(await metricsFindings(job)),
    ...(await scheduleFindings(job, now)),
  ]
}

async function guestFindings(guests: readonly Guest[]): Promise<Finding[]> {
  if (guests.length === 0) return [{ level: 'error', text: 'no guest is found' }]
  const gone = await Promise.all(guests.map(async (guest) => ({ guest, why: await isGone(guest) })))
  const missing = gone.filter(({ why }) => why !== null)
  const names = guests.map(({ name }) => name).join(', ')
  return [
    { level: 'good', text: `${guests.length} ${guests.length === 1 ? 'guest' : 'guests'}: ${names}` },
    ...missing.map(
      ({ guest, why }): Finding => ({ level: 'warning', text: `${guest.name} cannot be backed up now: ${why}` }),
    ),
  ]
}

async function placeFindings(job: Job): Promise<Finding[]> {
  return (await probeAll(job)).map(({ entry, error }) => {
    if (error === null) return { level: 'good', text: `${entry.place}: a probe was written, read and removed` }
    return { level: isRequired(entry) ? 'error' : 'warning', text: `${entry.place} cannot be written: ${error.text}` }
  })
}

/** Whether there is room for the largest full backup. Of ssh and stores nobody knows. */
async function roomFindings(job: Job, guests: readonly Guest[], state: JobState): Promise<Finding[]> {
  const states = await state.guests()
  const sizes = await Promise.all(
    guests.map(async (guest) => {
      const known = states.get(guest.name)
      if (known?.full) return { guest, bytes: known.full, isKnown: true }
      return { guest, bytes: known?.size ?? (await sizeAtRest(guest)), isKnown: false }
    }),
  )
  const [largest] = sizes.toSorted((a, b) => b.bytes - a.bytes)
  if (largest === undefined || largest.bytes === 0) return []
  const what = largest.isKnown
    ? `the last full archive of ${largest.guest.name} has ${formatBytes(largest.bytes)}`
    : `the drives of ${largest.guest.name} have ${formatBytes(largest.bytes)}, and it is not known how well they compress`
  const findings: Finding[] = []
  for (const { place } of job.to) {
    const parsed = parsePlace(`${baseOf(place)}any`)
    if (parsed.kind !== 'file') continue
    const free = await freeBytes(dirname(parsed.path))
    if (free === null) continue
    const text = `${place} has ${formatBytes(free)} free; ${what}`
    findings.push({ level: free >= largest.bytes ? 'good' : largest.isKnown ? 'error' : 'warning', text })
  }
  return findings
}

async function sizeAtRest({ source }: Guest): Promise<number> {
  if (source.kind !== 'drives') return 0
  const sizes = await Promise.all(
    Object.values(source.drives).map((path) =>
      stat(path).then(
        ({ size }) => size,
        () => 0,
      ),
    ),
  )
  return sizes.reduce((sum, size) => sum + size, 0)
}

async function freeBytes(folder: string): Promise<number | null> {
  const found = await statfs(folder).catch(() => null)
  return found && found.bavail * found.bsize
}

async function keyFindings(job: Job): Promise<Finding[]> {
  const findings: Finding[] = []
  const identities = (job.identity ?? []).map((path) => pathIn(job, path))
  for (const path of identities) {
    const error = await access(path, constants.R_OK).then(
      () => null,
      (cause) => asVmapipeError(cause),
    )
    if (error !== null) findings.push({ level: 'error', text: `the key cannot be read: ${error.text}` })
  }
  for (const entry of job.to) {
    const sealing = sealingOf(job, entry)
    if (sealing !== undefined)
      findings.push(...(await sealFindings(entry, sealing, identities, job.check?.verify === 'after')))
  }
  return findings
}

/** Seals a header for the recipients, and opens it with the keys. */
async function sealFindings(
  { place, keep }: PlaceEntry,
  { recipients = [], recipientsFiles = [] }: Encryption,
  identities: readonly string[],
  isReadBack: boolean,
): Promise<Finding[]> {
  let bytes: Buffer
  try {
    bytes = (await makeHeader({ recipients, recipientsFiles })).bytes
  } catch (error) {
    return [{ level: 'error', text: `${place}: archives cannot be encrypted: ${asVmapipeError(error).text}` }]
  }
  if (identities.length > 0) {
    try {
      await new Keyring({ identities }).open(readAgeHeader(bytes)!, bytes)
      return [{ level: 'good', text: `${place}: archives can be encrypted, and opened with the key` }]
    } catch (error) {
      return [{ level: 'error', text: `${place}: the key does not open its archives: ${asVmapipeError(error).text}` }]
    }
  }
  const lacking = `${place}: without a secret key (identity)`
  const without: Finding[] = [
    { level: 'warning', text: `${lacking} no archive there can be the parent of an incremental one` },
  ]
  if (isReadBack) without.push({ level: 'warning', text: `${lacking} its archives are not read back` })
  if (keep !== undefined)
    without.push({
      level: 'warning',
      text: `${lacking} nothing is removed there, as nobody knows what the archives are`,
    })
  return [{ level: 'good', text: `${place}: archives can be encrypted` }, ...without]
}

async function pipelineFindings(job: Job): Promise<Finding[]> {
  const files = new Map(
    [job, ...job.guests].flatMap(({ pipeline, set }) =>
      pipeline === undefined ? [] : [[pipeline, { ...job.set, ...set }]],
    ),
  )
  const findings: Finding[] = []
  for (const [file, set] of files) {
    try {
      const env = { ...process.env, GUEST: 'guest', SOURCE: '/source', TARGET: '/target.vma.zst' }
      await loadPipeline(pathIn(job, file), { set, env })
      findings.push({ level: 'good', text: `${file} is a good pipeline` })
    } catch (error) {
      findings.push({ level: 'error', text: asVmapipeError(error).text })
    }
  }
  return findings
}

/** A text is for the shell, which finds its programs when it runs. */
function hookFindings({ hooks = {} }: Job): Finding[] {
  return Object.entries(hooks).flatMap(([phase, command]): Finding[] => {
    if (!Array.isArray(command) || findProgram(command[0]) !== undefined) return []
    return [{ level: 'error', text: `hooks.${phase}: there is no program '${command[0]}'` }]
  })
}

async function metricsFindings(job: Job): Promise<Finding[]> {
  if (job.metrics === undefined) return []
  const folder = pathIn(job, job.metrics)
  try {
    await mkdir(folder, { recursive: true, mode: 0o755 })
    await access(folder, constants.W_OK)
    return [{ level: 'good', text: `metrics are written into ${folder}` }]
  } catch (error) {
    return [{ level: 'error', text: `metrics cannot be written: ${asVmapipeError(error).text}` }]
  }
}

async function scheduleFindings({ schedule }: Job, now: number): Promise<Finding[]> {
  if (schedule === undefined) return [{ level: 'warning', text: 'there is no schedule: it runs only by hand' }]
  try {
    const times = await nextTimes(schedule, now, 5)
    if (times === null)
      return [{ level: 'warning', text: 'its next times are not known: systemd-analyze is not installed' }]
    if (times.length === 0) return [{ level: 'error', text: `'${schedule.join(', ')}' never comes again` }]
    return [{ level: 'good', text: `it runs next at ${times.map(wallTime).join(', ')}` }]
  } catch (error) {
    return [{ level: 'error', text: asVmapipeError(error).text }]
  }
}

function wallTime(milliseconds: number): string {
  const time = new Date(milliseconds)
  const pad = (value: number) => String(value).padStart(2, '0')
  const day = `${time.getFullYear()}-${pad(time.getMonth() + 1)}-${pad(time.getDate())}`
  return `${day} ${pad(time.getHours())}:${pad(time.getMinutes())}`
}
