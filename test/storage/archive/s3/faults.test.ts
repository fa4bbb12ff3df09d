/** What networks and stores do wrong, by a proxy in front of a real store. */

import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { after, before, beforeEach, test } from 'node:test'
import { inspect } from 'node:util'
import { Budget } from '../../../../src/core/budget.ts'
import { asVmapipeError, type VmapipeError } from '../../../../src/core/errors.ts'
import { openPlace } from '../../../../src/storage/archive/open-place.ts'
import { S3Client } from '../../../../src/storage/archive/s3/client.ts'
import { listUploads } from '../../../../src/storage/archive/s3/objects.ts'
import { type Fault, type FaultyProxy, startFaultyProxy } from '../../../support/faulty-proxy.ts'
import { SWIFT, startSwift } from '../../../support/swift.ts'
import { needs } from '../../../support/tools.ts'

const options = { timeout: 120_000, ...needs(...SWIFT) }
const MIB = 1 << 20
const BYTES = randomBytes(18 * MIB + 77)
const SECRET = 'testing-is-a-secret'

let proxy: FaultyProxy
const hooks: (() => void)[] = []

before(async () => {
  if (options.skip !== false) return
  const { endpoint, env } = await startSwift({ after: (hook) => void hooks.push(hook) }, { secret: SECRET })
  proxy = await startFaultyProxy(endpoint)
  Object.assign(process.env, env, { AWS_ENDPOINT_URL: proxy.endpoint })
  await ask({ method: 'PUT' })
  await write('sample')
})

after(async () => {
  await proxy?.close()
  for (const hook of hooks.reverse()) hook()
})

beforeEach(() => {
  if (proxy === undefined) return
  process.env.AWS_MAX_ATTEMPTS = '3'
  proxy.fault = () => undefined
  proxy.asked.length = 0
})

async function ask(request: Parameters<S3Client['ask']>[0], patience = {}) {
  const client = await S3Client.open('faulty', { patience })
  return client.ask(request).finally(() => client.close())
}

async function write(name: string, warnings: string[] = []): Promise<void> {
  const budget = new Budget(64 * MIB)
  const target = openPlace(`s3://faulty/${name}`).target({ budget, warn: (line) => warnings.push(line) })
  try {
    await target.open()
    for (let at = 0; at < BYTES.length; at += MIB) await target.write([BYTES.subarray(at, at + MIB)])
    await target.finish()
  } finally {
    await target.abort()
    assert.equal(budget.used, 0, 'memory is given back')
  }
}

/** Reads all of the object in order, and gives the hash. */
async function read(name: string): Promise<string> {
  const budget = new Budget(16 * MIB)
  const source = openPlace(`s3://faulty/${name}`).source({ budget })
  const hash = createHash('sha256')
  try {
    await source.open()
    for (let chunk = await source.read(); chunk !== null; chunk = await source.read()) {
      for (const buffer of chunk.buffers) hash.update(buffer)
      chunk.release()
    }
    return hash.digest('hex')
  } finally {
    await source.close()
    assert.equal(budget.used, 0, 'memory is given back')
  }
}

const WHOLE = createHash('sha256').update(BYTES).digest('hex')

/** The error of something that must fail. Nothing in it is secret. */
async function failure(promise: Promise<unknown>): Promise<VmapipeError> {
  const error = await promise.then(() => assert.fail('it should have failed'), asVmapipeError)
  for (const text of [error.line, inspect(error, { depth: 10, showHidden: true }), JSON.stringify(error), error.stack!])
    assert.ok(!text.includes(SECRET), 'the secret is in the error')
  return error
}

/** Each fault once, for the requests that `which` is of. */
function once(which: (url: string, method: string) => boolean, ...faults: Fault[]): void {
  proxy.fault = ({ url, method }) => (which(url, method) ? faults.shift() : undefined)
}

const isPart = (url: string) => url.includes('partNumber=')
const isGet = (_url: string, method: string) => method === 'GET'

test('parts are sent again: refused, cut, lost, spoiled on the way', options, async () => {
  process.env.AWS_MAX_ATTEMPTS = '6'
  const warnings: string[] = []
  once(
    isPart,
    { status: 503, body: '<Error><Code>SlowDown</Code></Error>' },
    { drop: true },
    { loseAnswer: true },
    { spoil: true },
    { status: 429 },
  )
  await write('retried', warnings)
  assert.equal(await read('retried'), WHOLE)
  assert.equal(warnings.filter((line) => /tried again/.test(line)).length, 1, String(warnings))
})

test('if the answer of the last request is lost, the object that is there counts', options, async () => {
  once((url, method) => method === 'POST' && url.includes('uploadId='), { loseAnswer: true })
  await write('lost')
  assert.equal(await read('lost'), WHOLE)
})

test('an upload that cannot be completed is aborted, and says why', options, async () => {
  proxy.fault = ({ url }) =>
    url.includes('partNumber=2')
      ? { status: 500, body: '<Error><Code>InternalError</Code><Message>out of order</Message></Error>' }
      : undefined
  const error = await failure(write('failed'))
  assert.match(error.line, /s3:\/\/faulty\/failed: the store answered 500 InternalError out of order \(tried 3 times\)/)
  const client = await S3Client.open('faulty')
  for await (const { key } of listUploads(client, '')) assert.fail(`the upload of ${key} is still there`)
  assert.equal(await openPlace('s3://faulty/failed').stat!(), null)
  client.close()
})

test('reads go on where they broke', options, async () => {
  once(isGet, {}, { cutAfter: 300_000 }, { status: 503 }, { cutAfter: 500_000 }, { drop: true })
  assert.equal(await read('sample'), WHOLE)
  const ranges = proxy.asked.map(({ headers }) => headers.range).filter((range) => range !== undefined)
  assert.equal(new Set(ranges).size, ranges.length - 2, `only what was missing is asked for again: ${ranges}`)
})

test('an object that is replaced while it is read is noticed', options, async () => {
  const source = await openPlace('s3://faulty/sample').ranges!({})
  const etag = '"00000000000000000000000000000000"'
  proxy.fault = () => ({ change: (headers) => Object.assign(headers, { etag }) })
  assert.match((await failure(source.read(Buffer.alloc(100_000), 0))).line, /replaced by another object/)
  proxy.fault = () => ({ status: 412, body: '<Error><Code>PreconditionFailed</Code></Error>' })
  const error = await failure(source.read(Buffer.alloc(100_000), 200_000))
  assert.match(error.line, /replaced by another object/)
  assert.equal(error.exitCode, 3)
  await source.close()
})

test('a store that says wrong lengths is told off, and never fills more than it was given', options, async () => {
  const cases: [Fault, RegExp][] = [
    [{ change: (headers) => Object.assign(headers, { 'content-range': 'bytes 5-100/200' }) }, /another range/],
    [{ change: (headers) => delete headers['content-range'] }, /another range/],
    [{ status: 200, body: 'x'.repeat(1000) }, /the whole object/],
    [{ change: (headers) => delete headers['content-length'], endless: true }, /more bytes than it was asked for/],
    [{ change: (headers) => Object.assign(headers, { 'content-length': '5' }) }, /gave 5 bytes|tried|closed|Parse/],
  ]
  for (const [fault, wanted] of cases) {
    const source = await openPlace('s3://faulty/sample').ranges!({})
    proxy.fault = () => fault
    const buffer = Buffer.alloc(100_000)
    const error = await failure(source.read(buffer.subarray(0, 50_000), 0))
    assert.match(error.line, wanted)
    assert.ok(buffer.subarray(50_000).every((byte) => byte === 0))
    proxy.fault = () => undefined
    await source.close()
  }
  const tail: Fault = { change: (headers) => delete headers['content-length'], endless: true }
  proxy.fault = () => tail
  assert.match((await failure(openPlace('s3://faulty/sample').ranges!({}))).line, /more bytes/)
})

test('answers without an end, and answers that never come, end all the same', options, async () => {
  proxy.fault = () => ({ endless: true, change: (headers) => delete headers['content-length'] })
  assert.match((await failure(ask({ method: 'GET', query: { uploads: '' }, attempts: 1 }))).line, /has no end/)
  proxy.fault = () => ({ silent: true })
  assert.match((await failure(ask({ method: 'GET', attempts: 1 }, { idle: 300 }))).line, /nothing came for/)
  proxy.fault = () => ({ delayMs: 5000 })
  assert.match((await failure(ask({ method: 'GET', attempts: 1 }, { idle: 300 }))).line, /nothing came for/)
})

test('redirects are not followed; the region that the store names is told', options, async () => {
  proxy.fault = () => ({
    status: 307,
    headers: { location: 'http://127.0.0.1:9/' },
    body: '<Error><Code>TemporaryRedirect</Code></Error>',
  })
  assert.match((await failure(ask({ method: 'GET' }))).line, /sends elsewhere, which is not followed/)
  proxy.fault = () => ({ status: 301, headers: { 'x-amz-bucket-region': 'eu-west-3' } })
  assert.match(
    (await failure(ask({ method: 'GET' }))).line,
    /is in region eu-west-3, not in us-east-1.*AWS_REGION=eu-west-3/,
  )
})

test('what a store says is cut and escaped', options, async () => {
  const body = `<Error><Code>Odd\u001b[31m</Code><Message>${'long '.repeat(1000)}</Message></Error>`
  proxy.fault = () => ({ status: 400, body })
  const { line } = await failure(ask({ method: 'GET' }))
  assert.match(line, /400 Odd\\u\{1b\}\[31m long/)
  assert.ok(line.length < 500)
  for (const text of [
    '<!DOCTYPE x [<!ENTITY a "b">]><Error><Code>&a;</Code></Error>',
    '<'.repeat(60_000),
    '<a>'.repeat(20_000),
    'x'.repeat(3 * MIB),
  ]) {
    proxy.fault = () => ({ status: 400, body: text })
    assert.match((await failure(ask({ method: 'GET' }))).line, /the store answered 400$/)
  }
  proxy.fault = () => ({ status: 200, body: '<html><body>Welcome</body></html>' })
  assert.match((await failure(write('to-a-web-page'))).line, /is no ListMultipartUploadsResult|exists/)
})

test('a clock that is wrong is named as the reason', options, async () => {
  const date = new Date(Date.now() + 20 * 60_000).toUTCString()
  proxy.fault = () => ({ status: 403, headers: { date }, body: '<Error><Code>RequestTimeTooSkewed</Code></Error>' })
  assert.match(
    (await failure(ask({ method: 'GET' }))).line,
    /the clock of this computer is 20 minutes behind the store's/,
  )
})

test('wrong credentials and a bucket that does not exist', options, async () => {
  const { AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY } = process.env
  try {
    process.env.AWS_SECRET_ACCESS_KEY = `${SECRET}2`
    assert.match(
      (await failure(read('sample'))).line,
      /the secret key of the environment does not belong to its access key/,
    )
    process.env.AWS_ACCESS_KEY_ID = 'test:nobody'
    assert.match((await failure(read('sample'))).line, / key of the environment (?!.*testing)/)
  } finally {
    Object.assign(process.env, { AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY })
  }
  const target = openPlace('s3://not-there/x').target({})
  const error = await failure(target.open())
  assert.match(error.line, /bucket 'not-there' does not exist at 127\.0\.0\.1/)
  await target.abort()
  assert.match((await failure(read('not-there'))).line, /'s3:\/\/faulty\/not-there' does not exist/)
})

test('a store that nobody can reach is named once, with the reason', options, async () => {
  const { AWS_ENDPOINT_URL } = process.env
  try {
    process.env.AWS_ENDPOINT_URL = 'http://127.0.0.1:9'
    assert.match(
      (await failure(read('sample'))).line,
      /s3:\/\/faulty\/sample: 127\.0\.0\.1:9: .*connection refused.*tried 3 times/i,
    )
  } finally {
    process.env.AWS_ENDPOINT_URL = AWS_ENDPOINT_URL
  }
})
