/**
 * Restores a guest of libvirt that runs at once. Each of its disks is a qcow2 image over the archive, which we serve read-only. QEMU
 * writes what the guest writes into the image, and nowhere else: so nothing is lost if we are killed. Then the guest pauses when it reads
 * what its images do not have yet, and the same command goes on. In the end the images have everything, and nothing is below them.
 */

import { chmod, chown, open } from 'node:fs/promises'
import { join } from 'node:path'
import { asVmapipeError, VmapipeError } from '../../core/errors.ts'
import type { Manifest } from '../../core/items.ts'
import { VARIABLES_DRIVE } from '../../machine/libvirt/domain.ts'
import { type ImagePlace, rewriteDomain } from '../../machine/libvirt/rewrite.ts'
import { attribute, children, content, find, parseXml } from '../../machine/libvirt/xml.ts'
import { Virsh } from '../../protocol/libvirt/virsh.ts'
import { runTool } from '../../storage/qemu-nbd.ts'
import { type ArchiveExport, type ExportOptions, exportArchive } from '../export.ts'
import { openArchive } from '../open-archive.ts'
import type { GuestIdentity } from './domain-options.ts'
import { definitionNames, offered, replaced } from './host.ts'
import { LIVE_STATE, type LiveState, readLiveState, writeLiveState } from './live-state.ts'
import { prepareDomain } from './prepare.ts'
import { endJobs, makePlain, type PullProgress, pullAll } from './pull.ts'
import { renew } from './renew.ts'
import { define, folderFor, manifestOf, refreshPool, tellEmulator, writeDefinition } from './restore-domain.ts'
import { freePath, type Placed, Staging } from './staging.ts'

/** Which archive is restored, and what the domain is to be. */
export interface LiveDomainOptions
  extends GuestIdentity,
    Pick<ExportOptions, 'parents' | 'spool' | 'keys' | 'buffer' | 'warn'> {
  from: string
  connect?: string | undefined
  pool?: string | undefined
  into?: string | undefined
  /** Where the archive is served; in the hidden folder beside the images by default. */
  socket?: string | undefined
  force?: boolean | undefined
  newMac?: boolean | undefined
  /** Bytes a second that are copied. */
  bwlimit?: number | undefined
  /** Aborts the restore; the same call goes on. */
  signal: AbortSignal
  inform(message: string): void
  onProgress?(progress: PullProgress): void
}

/** Bytes of the path of a unix socket. */
const MAX_SOCKET = 107
const PIECE = 1 << 20

/**
 * Resolves when the guest runs on plain images. Errors: USAGE, FAILED, DAMAGED, INCOMPLETE, ABORTED. If it cannot start the guest,
 * nothing is left; later all stays as it is, and the same call goes on.
 */
export async function restoreDomainLive(
  options: LiveDomainOptions,
): Promise<{ name: string; uuid: string; files: string[] }> {
  const { connect, signal, inform, onProgress = () => {}, bwlimit } = options
  const virsh = new Virsh(connect, signal)
  const manifest = await manifestOf(options.from, options)
  const warn = options.warn ?? (() => {})
  const folder = await folderFor(virsh, options)
  const { fileName } = prepareDomain(manifest, options, () => {})
  const staging = await Staging.open(folder, fileName, (uuid, path) => definitionNames(virsh, uuid, path), [LIVE_STATE])
  let served: ArchiveExport | null = null
  let isDone = false
  try {
    const before = await unfinished(staging, manifest, virsh)
    const setting = { ...options, virsh, staging, manifest, folder, warn }
    let state: LiveState
    if (before === null) ({ state, served } = await begin(setting))
    else {
      inform('goes on with the restore that was stopped')
      state = before
      served = await serve(setting, state)
      await renew(virsh.untilTheEnd, state.uuid, inform)
    }
    await pullAll(state, { virsh, signal, bwlimit, onProgress, inform }).catch(async (error) => {
      await endJobs(state, virsh.untilTheEnd)
      throw error
    })
    await makePlain(state, virsh, (xml) => writeDefinition(virsh.untilTheEnd, staging, xml))
    isDone = true
    return { name: await nameOf(virsh, state.uuid), uuid: state.uuid, files: state.disks.map(({ path }) => path) }
  } catch (error) {
    const failure = asVmapipeError(error)
    isDone = (await readLiveState(staging.path)) === null
    if (isDone) throw failure
    const hint = 'the guest pauses when it reads what is not restored yet; the same command goes on'
    throw failure.code === 'ABORTED'
      ? new VmapipeError('ABORTED', 'stopped before the images were complete', { hint })
      : failure
  } finally {
    await served?.stop()
    await (isDone ? staging.remove() : staging.leave())
    if (isDone) await refreshPool(virsh, options)
  }
}

interface Setting extends LiveDomainOptions {
  virsh: Virsh
  staging: Staging
  manifest: Manifest
  folder: string
  warn(message: string): void
}

/** Defines the domain and starts it over the archive. If that fails, nothing is left. */
async function begin(setting: Setting): Promise<{ state: LiveState; served: ArchiveExport }> {
  const { virsh, staging, manifest, folder, warn, force = false, newMac = false } = setting
  const prepared = prepareDomain(manifest, setting, warn)
  const host = await offered(virsh, prepared.domain, warn)
  tellEmulator(prepared, host.emulator, warn)
  const { name, uuid, fileName, disks, hasVariables } = prepared
  const old = await replaced(virsh, { name, uuid }, force)
  const former = old && (await virsh.run('dumpxml', `--domain=${uuid}`, '--inactive', '--security-info'))
  const state: LiveState = { archive: hex(manifest.uuid), uuid, socket: socketFor(setting), disks: [] }
  const files: Placed[] = []
  for (const { target, drive } of disks) {
    const path = await freePath(join(folder, `${fileName}-${target}.qcow2`))
    const driver = find(prepared.domain.disks.find((one) => one.target === target)!.element, 'driver')
    const [errors, readErrors] = ['error_policy', 'rerror_policy'].map((policy) => attribute(driver, policy) ?? null)
    state.disks.push({ target, drive, path, errors: errors!, readErrors: readErrors! })
    files.push({ file: `${target}.qcow2`, path })
  }
  const served = await serve(setting, state)
  try {
    for (const { target, drive } of disks)
      await overlay(staging.file(`${target}.qcow2`), drive, { manifest, socket: state.socket })
    const variables = hasVariables ? await variablesOf(setting, join(folder, `${fileName}_VARS.fd`)) : undefined
    if (variables !== undefined) files.push(variables)
    const images = state.disks.map(({ target, path, drive }): [string, ImagePlace] => [
      target,
      { path, format: 'qcow2', over: { socket: state.socket, name: drive } },
    ])
    rewriteDomain(
      prepared.domain,
      { name, uuid, newMac, images: new Map(images), nvram: variables?.path, loaders: host.loaders },
      warn,
    )
    const late = virsh.untilTheEnd
    // Before there is a domain: whenever we are killed, the next run knows what it needs.
    await writeLiveState(staging.path, state)
    const starting = { staging, uuid, name, former }
    await define(late, prepared, { staging, files, warn, afterwards: () => start(late, starting) })
    return { state, served }
  } catch (error) {
    await staging.forget(LIVE_STATE).catch(() => {})
    await served.stop().catch(() => {})
    throw error
  }
}

interface Starting {
  staging: Staging
  uuid: string
  name: string
  /** The definition that the domain had before. */
  former: string | null
}

/** A domain that does not start is not left behind, and one that was replaced is as before. */
async function start(virsh: Virsh, { staging, uuid, name, former }: Starting): Promise<void> {
  await virsh.run('start', `--domain=${uuid}`).catch(async (error) => {
    const failure = asVmapipeError(error)
    const undo =
      former === null
        ? virsh.run('undefine', `--domain=${uuid}`, '--keep-nvram', '--keep-tpm')
        : writeDefinition(virsh, staging, former)
    await Promise.resolve(undo).catch((left) => failure.suppressed.push(left))
    throw new VmapipeError(failure.code, `the domain '${name}' does not start: ${failure.message}`, { cause: failure })
  })
}

/** The archive, read-only, for QEMU's user. */
async function serve(setting: Setting, { socket, disks }: LiveState): Promise<ArchiveExport> {
  const { from, parents, spool, keys, buffer, signal, warn, virsh, staging } = setting
  const served = await exportArchive({
    ...{ from, socket, signal, warn, drives: disks.map(({ drive }) => drive) },
    ...{ ...(parents && { parents }), ...(spool && { spool }), ...(keys && { keys }), ...(buffer && { buffer }) },
  })
  await served.start()
  const owner = await qemuUser(virsh)
  if (owner !== null && process.getuid?.() === 0) await chown(socket, owner, -1)
  // QEMU has to go through the folder to the socket. What else is there belongs to us.
  if (socket.startsWith(`${staging.path}/`)) await chmod(staging.path, 0o711)
  return served
}

/** The user that libvirt runs QEMU as; null if libvirt does not say. */
async function qemuUser(virsh: Virsh): Promise<number | null> {
  const root = parseXml(await virsh.run('capabilities'), 'capabilities', "libvirt's capabilities").documentElement!
  const host = find(root, 'host')
  const dac = host && children(host, 'secmodel').find((model) => content(find(model, 'model')) === 'dac')
  const [, user] = /^\+(\d+):/.exec(content(dac && find(dac, 'baselabel')) ?? '') ?? []
  return user === undefined ? null : Number(user)
}

/** An empty image over a drive of the archive. */
async function overlay(
  path: string,
  drive: string,
  { manifest, socket }: { manifest: Manifest; socket: string },
): Promise<void> {
  const { size } = manifest.drives.find(({ name }) => name === drive)!
  const below = `nbd+unix:///${encodeURIComponent(drive)}?socket=${encodeURIComponent(socket)}`
  // -u: the archive is not opened, so this takes no time.
  await runTool('qemu-img', ['create', '-q', '-u', '-f', 'qcow2', '-F', 'raw', '-b', below, '--', path, String(size)])
  await chmod(path, 0o600)
}

/** UEFI's variables are small, and QEMU needs them whole. */
async function variablesOf({ from, parents, spool, keys, signal, staging }: Setting, path: string): Promise<Placed> {
  const archive = await openArchive(from, {
    ...{ only: [VARIABLES_DRIVE], signal },
    ...{ ...(parents && { parents }), ...(spool && { spool }), ...(keys && { keys }) },
  })
  const file = await open(staging.file('variables.fd'), 'wx', 0o600)
  try {
    const drive = archive.drive(VARIABLES_DRIVE)
    const piece = Buffer.alloc(PIECE)
    for (let at = 0; at < drive.size; at += PIECE) {
      const bytes = piece.subarray(0, Math.min(PIECE, drive.size - at))
      await drive.read(bytes, at)
      await file.write(bytes, 0, bytes.length, at)
    }
    await file.sync()
  } finally {
    await file.close()
    await archive.close()
  }
  return { file: 'variables.fd', path: await freePath(path) }
}

/** The restore that is under way here; null if there is none. Throws FAILED if it is of another archive. */
async function unfinished(staging: Staging, manifest: Manifest, virsh: Virsh): Promise<LiveState | null> {
  const state = await readLiveState(staging.path)
  if (state === null) return null
  const isThere = await Promise.all(state.disks.map(({ path }) => definitionNames(virsh, state.uuid, path)))
  if (!isThere.includes(true)) {
    await staging.forget(LIVE_STATE)
    return null
  }
  if (state.archive === hex(manifest.uuid)) return state
  throw new VmapipeError('FAILED', 'a live restore of another archive is under way there', {
    file: staging.path,
    hint: 'let that one end first: its guest needs its archive',
  })
}

function socketFor({ socket, staging }: Setting): string {
  const path = socket ?? join(staging.path, 'nbd')
  if (Buffer.byteLength(path) <= MAX_SOCKET) return path
  throw new VmapipeError('USAGE', `the path of the socket, '${path}', is longer than ${MAX_SOCKET} bytes`, {
    hint: 'name a shorter one: --socket PATH',
  })
}

async function nameOf(virsh: Virsh, uuid: string): Promise<string> {
  return (await virsh.run('domname', `--domain=${uuid}`)).trim()
}

function hex(uuid: Uint8Array): string {
  return Buffer.from(uuid).toString('hex')
}
