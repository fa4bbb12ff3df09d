/** How the store is reached: TLS with certificates of one's own, proxies, names of buckets in the host. */

import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { S3Client } from '../../../../src/storage/archive/s3/client.ts'
import { tmpDir } from '../../../support/tmp.ts'
import { needs } from '../../../support/tools.ts'

const timeout = 30_000
const KEYS = { AWS_ACCESS_KEY_ID: 'id', AWS_SECRET_ACCESS_KEY: 'hush', AWS_MAX_ATTEMPTS: '2' }

async function listen(t: TestContext, server: Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  return (server.address() as AddressInfo).port
}

async function head(env: Record<string, string>): Promise<number> {
  const client = await S3Client.open('bucket', { env: { ...KEYS, ...env } })
  return client
    .ask({ method: 'HEAD', key: 'a b' })
    .then(({ status }) => status)
    .finally(() => client.close())
}

test('a store with a certificate of one’s own', { timeout, ...needs('openssl') }, async (t) => {
  const dir = tmpDir(t)
  const [key, cert] = [join(dir, 'key.pem'), join(dir, 'cert.pem')]
  const subject = ['-subj', '/CN=store', '-addext', 'subjectAltName=IP:127.0.0.1']
  const args = ['req', '-x509', '-newkey', 'ed25519', '-nodes', '-days', '2', '-keyout', key, '-out', cert, ...subject]
  execFileSync('openssl', args, { stdio: 'ignore' })
  const server = createTlsServer({ key: readFileSync(key), cert: readFileSync(cert) }, (_, answer) => answer.end())
  const endpoint = `https://127.0.0.1:${await listen(t, server)}`
  const env = { HOME: dir, AWS_ENDPOINT_URL: endpoint }
  assert.equal(await head({ ...env, AWS_CA_BUNDLE: cert }), 200)
  let connections = 0
  server.on('connection', () => connections++)
  await assert.rejects(head(env), /s3:\/\/bucket\/a b: 127\.0\.0\.1:\d+: self-signed certificate/)
  assert.equal(connections, 1, 'it is not tried again')
})

test('a proxy by the environment, and the bucket in front of the host', { timeout }, async (t) => {
  const asked: [string, string][] = []
  const proxy = createServer((request, answer) => {
    asked.push([request.url!, request.headers.host!])
    answer.end()
  })
  const HTTP_PROXY = `http://127.0.0.1:${await listen(t, proxy)}`
  const before = process.env.HTTP_PROXY
  process.env.HTTP_PROXY = HTTP_PROXY
  t.after(() => {
    if (before === undefined) delete process.env.HTTP_PROXY
    else process.env.HTTP_PROXY = before
  })
  const HOME = tmpDir(t)
  mkdirSync(join(HOME, '.aws'))
  writeFileSync(join(HOME, '.aws', 'config'), '[profile virtual]\ns3 =\n  addressing_style = virtual\n')
  const env = { HOME, AWS_ENDPOINT_URL: 'http://s3.example:9000' }
  assert.equal(await head(env), 200)
  assert.equal(await head({ ...env, AWS_PROFILE: 'virtual' }), 200)
  assert.deepEqual(asked, [
    ['http://s3.example:9000/bucket/a%20b', 's3.example:9000'],
    ['http://bucket.s3.example:9000/a%20b', 'bucket.s3.example:9000'],
  ])
})
