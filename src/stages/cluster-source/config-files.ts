/** The config files of an archive, as an option of the stages that begin a backup. */

import { basename } from 'node:path'
import type { ConfigFile } from '../../core/items.ts'
import { z } from '../../core/stage.ts'
import { MAX_CONFIG_SIZE } from '../../formats/vma/header.ts'
import { readConfigFile } from '../../storage/config-file.ts'

export function configFiles() {
  return z
    .union([
      z.array(z.union([z.string(), z.custom<ConfigFile>(isConfig)])),
      z.record(z.string().min(1), z.union([z.string(), z.instanceof(Uint8Array)])),
    ])
    .default([])
    .describe('config files for the archive: their paths, or names and paths (in code, also their bytes)')
}

export type ConfigFiles = z.output<ReturnType<typeof configFiles>>

/** The name in the archive, and the path or the content. */
type NamedConfig = readonly [name: string, from: string | Uint8Array]

export function namedConfigs(configs: ConfigFiles): NamedConfig[] {
  if (!Array.isArray(configs)) return Object.entries(configs)
  return configs.map((from) => (typeof from === 'string' ? [basename(from), from] : [from.name, from.data]))
}

export function readConfigs(configs: readonly NamedConfig[], signal?: AbortSignal): Promise<ConfigFile[]> {
  return Promise.all(
    configs.map(async ([name, from]) => {
      return { name, data: typeof from === 'string' ? await readConfigFile(from, MAX_CONFIG_SIZE, signal) : from }
    }),
  )
}

function isConfig(value: unknown): boolean {
  return typeof value === 'object' && value !== null && 'name' in value && 'data' in value
}
