/** Restores a guest of libvirt whole: images, variables of UEFI, the TPM's state, and the domain that has them. */

import { writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { asVmapipeError, VmapipeError } from '../../core/errors.ts'
import { checkOptions, flag, type Shape, text } from '../../core/options.ts'
import { z } from '../../core/stage.ts'
import { VARIABLES_DRIVE } from '../../machine/libvirt/domain.ts'
import { type ImagePlace, rewriteDomain } from '../../machine/libvirt/rewrite.ts'
import { xmlText } from '../../machine/libvirt/xml.ts'
import { Virsh } from '../../protocol/libvirt/virsh.ts'
import { makeDurableFolder } from '../../storage/folder.ts'
import { IMAGE_FORMATS } from '../../storage/spec.ts'
import { quickManifest } from '../quick-manifest.ts'
import { type RestoreOptions, restore, restoreShape } from '../restore.ts'
import type { RestoreDomainOptions, RestoreDomainResult } from './domain-options.ts'
import { definitionNames, offered, poolFolder, replaced } from './host.ts'
import { type PreparedDomain, prepareDomain } from './prepare.ts'
import { freePath, type Placed, Staging } from './staging.ts'
import { placeTpmState } from './tpm.ts'

const { into, drives: _drives, zeroed: _zeroed, salvage: _salvage, from: _from, ...common } = restoreShape

const shape = {
  ...common,
  from: text,
  into,
  connect: text,
  pool: text,
  format: z.enum(['raw', ...IMAGE_FORMATS]),
  name: text,
  newUuid: z.union([flag, text]),
  newMac: flag,
  start: flag,
} satisfies Shape<RestoreDomainOptions>

/** Does what `restoreDomain` of ../restore-domain.ts promises. */
export async function defineRestored(options: RestoreDomainOptions): Promise<RestoreDomainResult> {
  checkOptions('restoreDomain', { shape, required: ['from'] }, options)
  const { from, connect, pool, into, format, name, newUuid, newMac, start, ...rest } = options
  const { signal, force = false, warn = () => {}, inform = () => {} } = rest
  const tell = (message: string) => warn(message)
  const virsh = new Virsh(connect, signal)
  const manifest = await manifestOf(from, options)
  const prepared = prepareDomain(manifest, { name, newUuid }, tell)
  const host = await offered(virsh, prepared.domain, tell)
  tellEmulator(prepared, host.emulator, tell)
  const folder = await folderFor(virsh, { pool, into })
  const { uuid, fileName, disks, hasVariables } = prepared
  const staging = await Staging.open(folder, fileName, (of, path) => definitionNames(virsh, of, path))
  try {
    const old = await replaced(virsh, { name: prepared.name, uuid }, force)
    const kept = old === null ? [] : await filesOf(virsh, uuid)
    const images = await Promise.all(
      disks.map(async ({ target, drive, format: had }) => {
        const of = format ?? had
        const suffix = of === 'raw' ? 'img' : of
        return {
          target,
          drive,
          format: of,
          file: `${target}.${suffix}`,
          path: await freePath(join(folder, `${fileName}-${target}.${suffix}`)),
        }
      }),
    )
    const variables = hasVariables
      ? { file: 'variables.fd', path: await freePath(join(folder, `${fileName}_VARS.fd`)) }
      : null
    const targets = images.map(({ drive, format, file }) => [drive, `${format}:${staging.file(file)}`])
    if (variables !== null) targets.push([VARIABLES_DRIVE, `raw:${staging.file(variables.file)}`])
    const result = await restore({ ...rest, from, force: true, drives: Object.fromEntries(targets) })
    const places = new Map<string, ImagePlace>(images.map(({ target, path, format }) => [target, { path, format }]))
    rewriteDomain(
      prepared.domain,
      {
        name: prepared.name,
        uuid,
        newMac: newMac ?? false,
        images: places,
        nvram: variables?.path,
        loaders: host.loaders,
      },
      tell,
    )
    const files: Placed[] = [...images, ...(variables === null ? [] : [variables])].map(({ file, path }) => ({
      file,
      path,
    }))
    await define(virsh.untilTheEnd, prepared, { staging, files, warn: tell })
    for (const file of kept) inform(`the former image '${file}' is kept`)
    inform(`the domain ${prepared.name} (${uuid}) is defined`)
    if (start) await started(virsh, prepared)
    return {
      ...result,
      domain: { name: prepared.name, uuid, files: files.map(({ path }) => path), started: start ?? false },
    }
  } finally {
    await staging.remove()
    await refreshPool(virsh, { pool, into })
  }
}

const DEFAULT_POOL = 'default'

interface Definition {
  staging: Staging
  files: readonly Placed[]
  warn(message: string): void
  /** What belongs to the definition too: if it fails, all is taken back. */
  afterwards?(): Promise<void>
}

/** Gives the files their names and defines the domain: both, or neither. A signal does not stop it in between. */
export async function define(
  virsh: Virsh,
  prepared: PreparedDomain,
  { staging, files, warn, afterwards }: Definition,
): Promise<void> {
  const { domain, uuid, tpmState } = prepared
  let state: Awaited<ReturnType<typeof placeTpmState>> = null
  try {
    await staging.place(uuid, files)
    if (tpmState !== null) state = await placeTpmState(tpmState, { version: domain.tpm!.version, uuid }, warn)
    await writeDefinition(virsh, staging, xmlText(domain.document))
    await afterwards?.()
  } catch (error) {
    const failure = asVmapipeError(error)
    for (const undo of [() => staging.takeBack(), () => state?.takeBack()])
      await Promise.resolve(undo()).catch((left) => failure.suppressed.push(left))
    throw failure
  }
}

/** Gives libvirt a definition, which takes the place of the one that the domain has. */
export async function writeDefinition(virsh: Virsh, staging: Staging, xml: string): Promise<void> {
  const file = staging.file('domain.xml')
  await writeFile(file, xml, { mode: 0o600 })
  await virsh.run('define', `--file=${file}`)
}

interface Place {
  pool?: string | undefined
  into?: string | undefined
}

/** libvirt looks at the pool again, so that it lists what is new. */
export async function refreshPool(virsh: Virsh, { pool, into }: Place): Promise<void> {
  if (into === undefined) await virsh.untilTheEnd.run('pool-refresh', `--pool=${pool ?? DEFAULT_POOL}`).catch(() => {})
}

async function started(virsh: Virsh, { name, uuid }: PreparedDomain): Promise<void> {
  await virsh.run('start', `--domain=${uuid}`).catch((error) => {
    const { message, code, hint } = asVmapipeError(error)
    throw new VmapipeError(
      code,
      `the domain '${name}' is defined, and all of it is in place, but it does not start: ${message}`,
      { hint, cause: error },
    )
  })
}

/** The archive is read twice: first what it has. */
export function manifestOf(from: string, { signal, keys }: Pick<RestoreOptions, 'signal' | 'keys'>) {
  if (from === '-' || from.startsWith('exec:'))
    throw new VmapipeError(
      'USAGE',
      'a guest is restored from an archive that can be read twice, and this is a stream',
      {
        hint: 'name a file, ssh://user@host/path or s3://bucket/name',
      },
    )
  return quickManifest({ from, signal: signal ?? new AbortController().signal, ...(keys && { keys }) })
}

export async function folderFor(
  virsh: Virsh,
  { pool, into }: { pool?: string | undefined; into?: string | undefined },
): Promise<string> {
  if (pool !== undefined && into !== undefined)
    throw new VmapipeError('USAGE', 'a folder and a pool are two places for the images', { hint: 'name one of them' })
  if (into === undefined) return poolFolder(virsh, pool ?? DEFAULT_POOL)
  const folder = resolve(into)
  // QEMU's user must be able to enter it.
  await makeDurableFolder(folder, 0o711)
  return folder
}

/** Another program would run the guest, so the user is told. */
export function tellEmulator(
  { emulator }: PreparedDomain,
  ours: string | undefined,
  warn: (message: string) => void,
): void {
  if (emulator !== undefined && ours !== undefined && emulator !== ours)
    warn(`the emulator '${emulator}' is left out: libvirt has '${ours}' for this guest`)
}

/** The images that the domain has had until now. */
async function filesOf(virsh: Virsh, uuid: string): Promise<string[]> {
  const lines = (await virsh.run('domblklist', `--domain=${uuid}`, '--inactive')).split('\n')
  return lines.flatMap((line) => /^\s*\S+\s+(\/.*?)\s*$/.exec(line)?.[1] ?? [])
}
