/** Credentials, region and endpoint, as every tool for S3 has them. */

import assert from 'node:assert/strict'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { readSettings } from '../../../../src/storage/archive/s3/settings.ts'
import { tmpDir } from '../../../support/tmp.ts'

const KEYS = { AWS_ACCESS_KEY_ID: 'id', AWS_SECRET_ACCESS_KEY: 'hush' }

function home(t: Parameters<typeof tmpDir>[0], credentials: string, config = ''): { HOME: string } {
  const HOME = tmpDir(t)
  mkdirSync(join(HOME, '.aws'))
  writeFileSync(join(HOME, '.aws', 'credentials'), credentials)
  writeFileSync(join(HOME, '.aws', 'config'), config)
  return { HOME }
}

const CREDENTIALS = `# a comment
[default]
aws_access_key_id = of-default
aws_secret_access_key=hush-default # behind a comment
[ backup ]
aws_access_key_id = of-backup
aws_secret_access_key = hush-backup
aws_session_token = token
[half]
aws_access_key_id = of-half
`

const CONFIG = `[default]
region = eu-central-1
[profile backup]
region = eu-west-3
endpoint_url = https://s3.example.org:9000
s3 =
  addressing_style = virtual
  max_concurrent_requests = 20
max_attempts = 4
`

test('of the environment alone', async (t) => {
  const { HOME } = home(t, '')
  const { endpoint, ...settings } = await readSettings({ HOME, ...KEYS })
  assert.equal(endpoint.href, 'https://s3.us-east-1.amazonaws.com/')
  assert.deepEqual(settings, {
    pathStyle: false,
    region: 'us-east-1',
    accessKeyId: 'id',
    secretAccessKey: 'hush',
    sessionToken: undefined,
    origin: 'the environment',
    ca: undefined,
    attempts: 8,
  })
  const given = { ...KEYS, HOME, AWS_SESSION_TOKEN: 't', AWS_REGION: 'eu-north-1', AWS_MAX_ATTEMPTS: '3' }
  const own = await readSettings({ ...given, AWS_ENDPOINT_URL: 'http://a:1', AWS_ENDPOINT_URL_S3: 'http://nas:9000' })
  assert.deepEqual(
    [own.endpoint.href, own.pathStyle, own.region, own.sessionToken, own.attempts],
    ['http://nas:9000/', true, 'eu-north-1', 't', 3],
  )
})

test('of the files of AWS, by profile', async (t) => {
  const env = home(t, CREDENTIALS, CONFIG)
  const usual = await readSettings(env)
  assert.deepEqual(
    [usual.accessKeyId, usual.secretAccessKey, usual.region],
    ['of-default', 'hush-default', 'eu-central-1'],
  )
  const backup = await readSettings({ ...env, AWS_PROFILE: 'backup', ...KEYS })
  assert.deepEqual(
    [backup.accessKeyId, backup.sessionToken, backup.region, backup.endpoint.host, backup.pathStyle, backup.attempts],
    ['of-backup', 'token', 'eu-west-3', 's3.example.org:9000', false, 4],
  )
  assert.equal((await readSettings({ ...env, ...KEYS })).accessKeyId, 'id', 'the environment comes first')
  const elsewhere = { HOME: '/none', AWS_SHARED_CREDENTIALS_FILE: join(env.HOME, '.aws', 'credentials') }
  assert.equal((await readSettings(elsewhere)).accessKeyId, 'of-default')
})

test('what is missing or makes no sense is named, and no secret with it', async (t) => {
  const env = home(t, CREDENTIALS, CONFIG)
  const bare = { HOME: tmpDir(t) }
  const cases: [Record<string, string>, RegExp][] = [
    [
      bare,
      /no credentials for S3: AWS_ACCESS_KEY_ID is not set, and profile 'default' has no aws_access_key_id in .*\.aws\/credentials/,
    ],
    [{ ...bare, AWS_ACCESS_KEY_ID: 'id' }, /in the environment have no AWS_SECRET_ACCESS_KEY/],
    [{ ...bare, AWS_SECRET_ACCESS_KEY: 'hush' }, /in the environment have no AWS_ACCESS_KEY_ID/],
    [{ ...env, AWS_PROFILE: 'half' }, /in profile 'half' have no aws_secret_access_key/],
    [{ ...env, AWS_PROFILE: 'nobody' }, /AWS_PROFILE is 'nobody', and neither .* nor .* has it/],
    [{ ...bare, ...KEYS, AWS_SECRET_ACCESS_KEY: 'hush\n' }, /has a character that none can have/],
    [{ ...bare, ...KEYS, AWS_ENDPOINT_URL: 'nas:9000' }, /no URL of http or https/],
    [{ ...bare, ...KEYS, AWS_ENDPOINT_URL: 'https://user:hush@nas' }, /more than a host and a port/],
    [{ ...bare, ...KEYS, AWS_REGION: 'eu west' }, /not the name of a region/],
    [{ ...bare, ...KEYS, AWS_CA_BUNDLE: '/none/ca.pem' }, /no such file.*AWS_CA_BUNDLE/],
    [{ ...bare, ...KEYS, AWS_MAX_ATTEMPTS: '0' }, /AWS_MAX_ATTEMPTS/],
  ]
  for (const [given, wanted] of cases) {
    await assert.rejects(readSettings(given), (error: Error & { line: string }) => {
      assert.match(error.line, wanted)
      assert.doesNotMatch(error.line, /hush/)
      return true
    })
  }
})
