/** The contract of places against the gateway of Ceph, which also knows conditional writes, Object Lock and tags. */

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import type { TargetOptions } from '../../../../src/storage/archive/endpoint.ts'
import { openPlace } from '../../../../src/storage/archive/open-place.ts'
import { S3Client } from '../../../../src/storage/archive/s3/client.ts'
import { type FaultyProxy, startFaultyProxy } from '../../../support/faulty-proxy.ts'
import { RADOSGW, startRadosgw } from '../../../support/radosgw.ts'
import { needs } from '../../../support/tools.ts'
import { archivePlace } from '../contract.ts'

const { skip } = needs(...RADOSGW)
const options = { timeout: 60_000, skip }
const hooks: (() => void)[] = []
let proxy: FaultyProxy
let store: string

before(
  async () => {
    if (skip !== false) return
    const { endpoint, env } = await startRadosgw({ after: (hook) => void hooks.push(hook) })
    store = endpoint
    proxy = await startFaultyProxy(endpoint)
    Object.assign(process.env, env)
    await ask({ method: 'PUT', headers: { 'x-amz-bucket-object-lock-enabled': 'true' } })
    await ask({ method: 'PUT' }, 'plain')
  },
  { timeout: 180_000 },
)

after(async () => {
  await proxy?.close()
  for (const hook of hooks.reverse()) hook()
})

async function ask(request: Parameters<S3Client['ask']>[0], bucket = 'locked') {
  const client = await S3Client.open(bucket)
  return client.ask(request).finally(() => client.close())
}

async function write(name: string, more: TargetOptions = {}, bucket = 'locked'): Promise<void> {
  const target = openPlace(`s3://${bucket}/${name}`).target(more)
  try {
    await target.open()
    await target.write([Buffer.from(name)])
    await target.finish()
  } finally {
    await target.abort()
  }
}

if (skip === false) {
  archivePlace('Ceph', { noReplace: true, ranges: true, list: true }, () => ({
    at: (name) => `s3://locked/é&<>/${name}`,
  }))
}

test('an object that appears in the last moment is not replaced: the store checks it', options, async () => {
  const warnings: string[] = []
  process.env.AWS_ENDPOINT_URL = proxy.endpoint
  try {
    // The look before the last request finds nothing, as if the other had been a moment later.
    proxy.fault = ({ method }) => (method === 'HEAD' ? { status: 404 } : undefined)
    await write('raced', {}, 'plain')
    await assert.rejects(
      write('raced', { warn: (line) => warnings.push(line) }, 'plain'),
      /exists and was not overwritten/,
    )
    assert.deepEqual(warnings, [])
    assert.ok(proxy.asked.some(({ headers }) => headers['if-none-match'] === '*'))
  } finally {
    process.env.AWS_ENDPOINT_URL = store
  }
})

test('an archive with a lock is removed by nobody before its time', options, async () => {
  const until = new Date(Date.now() + 3_600_000)
  await write('kept', { object: { retainUntil: until.toISOString(), tags: { guest: 'vm 1', kind: 'a&b' } } })
  const { headers } = await ask({ method: 'HEAD', key: 'kept' })
  assert.equal(headers['x-amz-object-lock-mode'], 'COMPLIANCE')
  assert.ok(Math.abs(Date.parse(String(headers['x-amz-object-lock-retain-until-date'])) - until.getTime()) < 2000)
  const version = String(headers['x-amz-version-id'])
  await assert.rejects(
    ask({ method: 'DELETE', key: 'kept', query: { versionId: version } }),
    /access denied|AccessDenied/i,
  )
  // Without a version the store would only hide it, and say that all is well.
  await assert.rejects(openPlace('s3://locked/kept').remove!(), /is locked until .*, and cannot be removed/)
  const tags = await ask({ method: 'GET', key: 'kept', query: { tagging: '' } })
  assert.match(tags.body.toString(), /<Key>guest<\/Key><Value>vm 1<\/Value>/)
})
