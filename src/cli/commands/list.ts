import type { Command } from 'commander'
import type { Keyring } from '../../codecs/age/keyring.ts'
import { asVmapipeError, printable } from '../../core/errors.ts'
import type { ArchiveRecord, DriveInfo, Manifest } from '../../core/items.ts'
import { uuidText } from '../../formats/vma/header.ts'
import { glanceAt } from '../../machine/glance.ts'
import type { SealedArchive } from '../../operations/encryption.ts'
import { type CommonFlags, common, examples, parentsFlag } from '../flags.ts'
import { diskJson, guestLines, type Told } from '../guest-lines.ts'
import { type KeyFlags, keyFlags, keyringOf } from '../keys.ts'
import { interruptible } from '../signals.ts'
import { noteLine, print } from '../text.ts'

interface Flags extends CommonFlags, KeyFlags {
  json?: boolean
  config?: string
  parents?: string[]
  uploads?: boolean
  abortUploads?: boolean
}

export function listCommand(program: Command): void {
  const command = program
    .command('list')
    .summary('print what is in an archive')
    .description(
      'Prints what is in an archive, as `vma list` does, and what it says of the guest: name, memory, firmware, the buses of ' +
        'its disks. Only the header is read.\n\n' +
        'Of an incremental archive it also prints the chain of its parents, down to a full archive, and what each of them ' +
        'adds.\n\n' +
        'Of s3://bucket/ or s3://bucket/folder/ it prints the names, sizes and times of the archives there.',
    )
    .argument('<archive>', 'a path, - for standard input, ssh://user@host/path, s3://bucket/name, exec:COMMAND')
    .option('--json', 'as JSON, with the uuid')
    .option('--config <name>', 'print this config file of the archive, as `vmapipe config` does, and nothing else')
    .option('--uploads', 's3://bucket/: uploads that are not finished: they are under way, or their run was killed')
    .option('--abort-uploads', 's3://bucket/: abort them all; runs that write there now fail')
    .action(run)
  parentsFlag(command)
  examples(
    keyFlags(common(command)),
    'vmapipe list vm.vma.zst',
    "vmapipe list --json vm.vma.zst | jq '.drives[].size'",
    'vmapipe list --config guest.json vm.vma.zst',
    'vmapipe list s3://bucket/ --uploads',
  )
}

async function run(archive: string, { json, uploads, abortUploads, parents, config, ...flags }: Flags): Promise<void> {
  if (config !== undefined) return (await import('./config.ts')).printConfig(archive, { ...flags, config })
  if (archive.startsWith('s3:') || uploads || abortUploads) {
    const { isOfBucket, listBucket } = await import('./list-bucket.ts')
    const { signal, dispose } = interruptible()
    const which = { json, uploads, abortUploads }
    if (isOfBucket(archive, which)) return listBucket(archive, which, signal).finally(dispose)
    dispose()
  }
  const keys = await keyringOf(flags)
  const { quickManifest } = await import('../../operations/quick-manifest.ts')
  const { signal, dispose } = interruptible()
  const manifest = await quickManifest({ from: archive, keys, signal })
    .catch((error) => sealedInstead(error, archive, keys !== undefined))
    .finally(dispose)
  if (!('uuid' in manifest)) {
    const { text, ...sealed } = manifest
    return print(json ? JSON.stringify({ encrypted: sealed }, null, 2) : `ENCRYPTED: size: ${sealed.size} ${text}`)
  }
  const told = await tell(archive, manifest, keys !== undefined)
  const lines = [...listLines(manifest), ...guestLines(manifest, told)]
  if (!manifest.isIncremental) return print(...(json ? [JSON.stringify(asJson(manifest, told), null, 2)] : lines))
  if (!json) print(...lines, parentLine(manifest))
  const chain = await chainOf(archive, { parents, keys })
  if (json) return print(JSON.stringify({ ...asJson(manifest, told), chain: chain.json }, null, 2))
  print(...chain.lines)
}

/** What the archive says of its guest, and how it is encrypted. */
async function tell(archive: string, { configs }: Manifest, hasKey: boolean): Promise<Told> {
  const { glance, problem } = await glanceAt(configs)
  if (problem !== undefined) process.stderr.write(`${noteLine('warning', problem)}\n`)
  if (!hasKey && !process.env.VMAPIPE_IDENTITY_FILE) return { glance, encrypted: null }
  const { sealedArchive } = await import('../../operations/encryption.ts')
  return { glance, encrypted: (await sealedArchive(archive))?.text ?? null }
}

/** The chain of an incremental archive, without its lines if its parents cannot be looked for. */
async function chainOf(archive: string, options: { parents?: string[]; keys?: Keyring }) {
  const { describeChain } = await import('../../operations/describe-chain.ts')
  const { chainJson, chainLines } = await import('../chain-lines.ts')
  const { signal, dispose } = interruptible()
  const warn = (message: string) => process.stderr.write(`${noteLine('warning', message)}\n`)
  const archives = await describeChain(archive, { ...options, signal, warn }).finally(dispose)
  return { lines: archives === null ? [] : chainLines(archives), json: archives && chainJson(archives) }
}

function parentJson({ parent }: ArchiveRecord): object | null {
  return parent && { uuid: uuidText(parent.uuid), ctime: parent.ctime }
}

function parentLine({ record }: Manifest): string {
  const { uuid, ctime } = record!.parent!
  return `PARENT: ${uuidText(uuid)} ${timeText(ctime)}`
}

/** What is known of an archive whose key nobody has given. Throws `error` for any other. */
async function sealedInstead(error: unknown, archive: string, hasKey: boolean): Promise<SealedArchive> {
  if (hasKey || asVmapipeError(error).code !== 'USAGE') throw error
  const { sealedArchive } = await import('../../operations/encryption.ts')
  const sealed = await sealedArchive(archive)
  if (sealed === null) throw error
  return sealed
}

/** The same lines as `vma list` prints. The time is UTC. */
export function listLines({ configs, drives, ctime }: Manifest): string[] {
  return [
    ...configs.map(({ name, data }) => `CFG: size: ${data.byteLength} name: ${printable(name)}`),
    ...drives.map(driveLine),
    `CTIME: ${timeText(ctime)}`,
  ]
}

function driveLine({ id, name, size }: DriveInfo): string {
  if (name === 'vmstate') return `VMSTATE: dev_id=${id} memory: ${size}`
  return `DEV: dev_id=${id} size: ${size} devname: ${printable(name)}`
}

/** "Mon Nov  3 10:56:07 2026", as ctime(3) writes it. A time that is too large for a date stays a number. */
function timeText(seconds: number): string {
  const date = new Date(seconds * 1000)
  if (Number.isNaN(date.getTime())) return `${seconds} seconds since 1970`
  const [weekday, day, month, year, time] = date.toUTCString().replace(',', '').split(' ')
  return `${weekday} ${month} ${String(Number(day)).padStart(2)} ${time} ${year}`
}

function asJson(manifest: Manifest, { glance, encrypted }: Told): object {
  const { uuid, ctime, configs, drives, record, isIncremental } = manifest
  const date = new Date(ctime * 1000)
  return {
    uuid: uuidText(uuid),
    ctime,
    time: Number.isNaN(date.getTime()) ? null : date.toISOString(),
    configs: configs.map(({ name, data }) => ({ name, size: data.byteLength })),
    drives: drives.map(({ id, name, size }) => ({ id, name, size, ...diskJson(name, glance) })),
    encrypted,
    tool: record?.tool ?? null,
    machine: glance,
    ...(record !== null && {
      incremental: isIncremental,
      guest: record.guest,
      full: record.full,
      parent: parentJson(record),
    }),
  }
}
