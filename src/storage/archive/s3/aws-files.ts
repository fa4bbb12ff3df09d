/** Reads a profile of `~/.aws/credentials` and `~/.aws/config`, as the tools of AWS write them. */

import { readFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { asVmapipeError, VmapipeError } from '../../../core/errors.ts'

export interface Profile {
  name: string
  /** Settings by their names in small letters. Those below `s3 =` have `s3.` in front. */
  values: ReadonlyMap<string, string>
  /** The files that were looked at, for messages. */
  files: readonly string[]
}

type Environment = Readonly<Record<string, string | undefined>>

/** A file of settings is a few KiB. */
const LARGEST_FILE = 1 << 20

/** Reads the profile that the environment names. Throws USAGE if it is named and in neither file. */
export async function readProfile(env: Environment): Promise<Profile> {
  const folder = join(env.HOME || homedir(), '.aws')
  const credentials = env.AWS_SHARED_CREDENTIALS_FILE || join(folder, 'credentials')
  const config = env.AWS_CONFIG_FILE || join(folder, 'config')
  const wanted = env.AWS_PROFILE || undefined
  const name = wanted ?? 'default'
  const inConfig = (await sections(config)).get(name === 'default' ? name : `profile ${name}`)
  const inCredentials = (await sections(credentials)).get(name)
  if (wanted !== undefined && inConfig === undefined && inCredentials === undefined) {
    throw new VmapipeError('USAGE', `AWS_PROFILE is '${wanted}', and neither ${credentials} nor ${config} has it`, {
      hint: 'check the name',
    })
  }
  return { name, values: new Map([...(inConfig ?? []), ...(inCredentials ?? [])]), files: [credentials, config] }
}

/** The sections of a file; none if there is no such file. */
async function sections(path: string): Promise<Map<string, Map<string, string>>> {
  const text = await readFile(path, 'utf8').catch((error) => {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return ''
    throw asVmapipeError(error, { file: path })
  })
  if (text.length > LARGEST_FILE) throw new VmapipeError('USAGE', `'${path}' is too large to be a file of settings`)
  const found = new Map<string, Map<string, string>>()
  let section = new Map<string, string>()
  let above = ''
  for (const line of text.split(/\r?\n/)) {
    if (/^\s*([#;]|$)/.test(line)) continue
    const [, heading] = /^\[\s*([^\]]*?)\s*\]/.exec(line) ?? []
    if (heading !== undefined) {
      const name = heading.replace(/\s+/g, ' ').replaceAll(/["']/g, '')
      section = found.get(name) ?? new Map()
      found.set(name, section)
      above = ''
      continue
    }
    const [, indent, key, value] = /^(\s*)([^=\s]+)\s*=\s*(.*?)\s*$/.exec(line) ?? []
    if (key === undefined) continue
    const isNested = indent !== '' && above !== ''
    section.set((isNested ? `${above}.${key}` : key).toLowerCase(), value.replace(/\s+[#;].*$/, ''))
    if (!isNested) above = value === '' ? key : ''
  }
  return found
}
