/**
 * Where the store is and who asks: credentials, region and endpoint, as every tool for S3 has them. The environment comes first,
 * then the profile. Secrets stay in here and in the client; no message has them.
 */

import { readFile } from 'node:fs/promises'
import { asVmapipeError, VmapipeError } from '../../../core/errors.ts'
import { type Profile, readProfile } from './aws-files.ts'

export interface S3Settings {
  endpoint: URL
  /** Whether the bucket is in the path, or in front of the host's name. */
  pathStyle: boolean
  region: string
  accessKeyId: string
  secretAccessKey: string
  sessionToken: string | undefined
  /** Where the credentials come from, for messages. */
  origin: string
  /** Certificates of the authorities that sign the store's; the usual ones if it is undefined. */
  ca: string | undefined
  /** How often a request is tried. */
  attempts: number
}

type Environment = Readonly<Record<string, string | undefined>>

/** With waits that double from a fifth of a second, 8 attempts take about 25 seconds. */
const ATTEMPTS = 8

/** Reads the settings. Throws USAGE if a credential is missing, and says which. */
export async function readSettings(env: Environment = process.env): Promise<S3Settings> {
  const profile = await readProfile(env)
  const region = env.AWS_REGION || env.AWS_DEFAULT_REGION || profile.values.get('region') || 'us-east-1'
  if (!/^[A-Za-z0-9-]{1,64}$/.test(region))
    throw new VmapipeError('USAGE', `'${region}' is not the name of a region`, { hint: 'set AWS_REGION' })
  const custom = endpointOf(env, profile)
  const endpoint = custom ?? new URL(`https://s3.${region}.amazonaws.com${region.startsWith('cn-') ? '.cn' : ''}`)
  const style = profile.values.get('s3.addressing_style') ?? 'auto'
  return {
    endpoint,
    pathStyle: style === 'virtual' ? false : style === 'path' || custom !== undefined,
    region,
    ...credentialsOf(env, profile),
    ca: await certificates(env.AWS_CA_BUNDLE || profile.values.get('ca_bundle')),
    attempts: attemptsOf(env.AWS_MAX_ATTEMPTS || profile.values.get('max_attempts')),
  }
}

function endpointOf(env: Environment, { values }: Profile): URL | undefined {
  const isIgnored = /^true$/i.test(env.AWS_IGNORE_CONFIGURED_ENDPOINT_URLS ?? '')
  const text = isIgnored
    ? undefined
    : env.AWS_ENDPOINT_URL_S3 || env.AWS_ENDPOINT_URL || values.get('s3.endpoint_url') || values.get('endpoint_url')
  if (text === undefined) return undefined
  const url = URL.parse(text)
  const hint = 'such as AWS_ENDPOINT_URL=https://s3.example.org:9000'
  if (url === null || !/^https?:$/.test(url.protocol))
    throw new VmapipeError('USAGE', 'the endpoint of the store is no URL of http or https', { hint })
  // A password in a URL would get into messages.
  if (url.username !== '' || url.password !== '' || url.search !== '' || url.hash !== '' || url.pathname !== '/')
    throw new VmapipeError('USAGE', 'the endpoint of the store has more than a host and a port', { hint })
  return url
}

type Credentials = Pick<S3Settings, 'accessKeyId' | 'secretAccessKey' | 'sessionToken' | 'origin'>

function credentialsOf(env: Environment, { name, values, files }: Profile): Credentials {
  // A profile that is named on purpose comes before keys in the environment: so do the tools of AWS.
  const inProfile = values.get('aws_access_key_id') !== undefined || values.get('aws_secret_access_key') !== undefined
  if (env.AWS_ACCESS_KEY_ID || env.AWS_SECRET_ACCESS_KEY) {
    if (!(env.AWS_PROFILE && inProfile)) {
      return complete('the environment', {
        AWS_ACCESS_KEY_ID: env.AWS_ACCESS_KEY_ID,
        AWS_SECRET_ACCESS_KEY: env.AWS_SECRET_ACCESS_KEY,
        token: env.AWS_SESSION_TOKEN || undefined,
      })
    }
  }
  if (!inProfile) {
    throw new VmapipeError(
      'USAGE',
      `there are no credentials for S3: AWS_ACCESS_KEY_ID is not set, and profile '${name}' has no aws_access_key_id in ${files.join(' or ')}`,
      {
        hint: "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; or use a client that has others: exec:'aws s3 cp - s3://…'",
      },
    )
  }
  return complete(`profile '${name}'`, {
    aws_access_key_id: values.get('aws_access_key_id'),
    aws_secret_access_key: values.get('aws_secret_access_key'),
    token: values.get('aws_session_token'),
  })
}

function complete(origin: string, { token, ...pair }: Record<string, string | undefined>): Credentials {
  const [[, accessKeyId], [, secretAccessKey]] = Object.entries(pair)
  for (const [name, value] of Object.entries(pair)) {
    if (!value)
      throw new VmapipeError('USAGE', `the credentials for S3 in ${origin} have no ${name}`, { hint: 'set it' })
  }
  // What does not fit into a header would end up in the message of an error.
  for (const value of [accessKeyId!, secretAccessKey!, token ?? '']) {
    if (/[^\x21-\x7e]/.test(value))
      throw new VmapipeError('USAGE', `a credential for S3 in ${origin} has a character that none can have`, {
        hint: 'look for a blank or a line break at its end',
      })
  }
  return { accessKeyId: accessKeyId!, secretAccessKey: secretAccessKey!, sessionToken: token, origin }
}

async function certificates(path: string | undefined): Promise<string | undefined> {
  if (path === undefined) return undefined
  return readFile(path, 'utf8').catch((error) => {
    throw asVmapipeError(error, {
      file: path,
      hint: 'AWS_CA_BUNDLE names the certificates that the store is checked by',
    })
  })
}

function attemptsOf(text: string | undefined): number {
  if (text === undefined) return ATTEMPTS
  if (!/^[1-9][0-9]?$/.test(text))
    throw new VmapipeError('USAGE', `AWS_MAX_ATTEMPTS is '${text}'`, { hint: 'it is a number from 1 to 99' })
  return Number(text)
}
