/**
 * What `list` shows of a guest. It starts at once, so `guest.json` is read here without a schema: each value that is what it should be is
 * taken, and all others are left out.
 */

import { asVmapipeError } from '../core/errors.ts'
import type { ConfigFile } from '../core/items.ts'
import { machineIn } from './known.ts'
import type { Machine } from './machine.ts'

/** As in machine.ts, which loads the library of the schema. */
const GUEST_JSON = 'guest.json'

export interface Glance {
  from?: string
  name?: string
  uuid?: string
  type?: string
  arch?: string
  /** Bytes. */
  memory?: number
  processors?: number
  firmware?: { kind: string; secureBoot?: boolean; variables?: string }
  tpm?: { version: string }
  disks: { drive: string; bus: string; unit?: number; format?: string }[]
  networks: { model: string; mac: string }[]
}

/** Null if the archive says nothing of its guest. `problem`: in words, if it says something that makes no sense. */
export async function glanceAt(configs: readonly ConfigFile[]): Promise<{ glance: Glance | null; problem?: string }> {
  try {
    const own = configs.findLast(({ name }) => name === GUEST_JSON)
    if (own !== undefined) return { glance: glanceOf(JSON.parse(Buffer.from(own.data).toString())) }
    const machine = await machineIn(configs)
    return { glance: machine && glanceOf(machine) }
  } catch (error) {
    return { glance: null, problem: `what the archive says of its guest makes no sense: ${asVmapipeError(error).text}` }
  }
}

type Fields = Record<string, unknown>

function glanceOf(machine: Machine | unknown): Glance {
  const said = fields(machine)
  const { cpu, firmware, tpm } = said
  const { count, sockets, cores, threads, dies } = fields(cpu)
  const topology = [sockets, dies, cores, threads].map((value) => number(value) ?? 1).reduce((a, b) => a * b, 1)
  const { kind, secureBoot, variables } = fields(firmware)
  return known({
    from: text(said.from),
    name: text(said.name),
    uuid: text(said.uuid),
    type: text(said.type),
    arch: text(said.arch),
    memory: number(said.memory),
    processors: number(count) ?? (number(sockets) || number(cores) ? topology : undefined),
    firmware:
      text(kind) === undefined
        ? undefined
        : known({ kind: text(kind)!, secureBoot: secureBoot === true || undefined, variables: text(variables) }),
    tpm: text(fields(tpm).version) === undefined ? undefined : { version: text(fields(tpm).version)! },
    disks: list(said.disks).flatMap((disk) => {
      const [drive, bus] = [text(disk.drive), text(disk.bus)]
      if (drive === undefined || bus === undefined) return []
      return [known({ drive, bus, unit: number(disk.unit), format: text(disk.format) })]
    }),
    networks: list(said.networks).flatMap(({ model, mac }) => {
      const [kind, address] = [text(model), text(mac)]
      return kind === undefined || address === undefined ? [] : [{ model: kind, mac: address }]
    }),
  })
}

function fields(value: unknown): Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Fields) : {}
}

function list(value: unknown): Fields[] {
  return Array.isArray(value) ? value.slice(0, 255).map(fields) : []
}

function text(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value.slice(0, 255) : undefined
}

function number(value: unknown): number | undefined {
  return Number.isSafeInteger(value) && (value as number) >= 0 ? (value as number) : undefined
}

/** The object without its undefined properties: it is printed as JSON and compared. */
function known<T extends object>(object: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined)) as never
}
