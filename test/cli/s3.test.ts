/** Archives in a bucket of a real store, as users make and read them. */

import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { openPlace } from '../../src/storage/archive/open-place.ts'
import { S3Client } from '../../src/storage/archive/s3/client.ts'
import { until } from '../storage/archive/processes.ts'
import { writeImage } from '../support/image.ts'
import { SWIFT, startSwift } from '../support/swift.ts'
import { tmpDir } from '../support/tmp.ts'
import { needs } from '../support/tools.ts'
import { oneLine, startCli, vmapipe } from './cli.ts'

const options = { timeout: 180_000, ...needs(...SWIFT) }
const MIB = 1 << 20
const SECRET = 'a-secret-of-the-test'

const hooks: (() => void)[] = []
const dir = tmpDir({ after: (hook) => void hooks.push(hook) })
const disk = join(dir, 'disk.raw')
const config = join(import.meta.dirname, '../../package.json')

before(async () => {
  if (options.skip !== false) return
  const { env } = await startSwift({ after: (hook) => void hooks.push(hook) }, { secret: SECRET })
  Object.assign(process.env, env)
  const client = await S3Client.open('vms')
  await client.ask({ method: 'PUT' })
  client.close()
  writeImage(disk, 40 * MIB, { noise: 22 * MIB })
})

after(() => {
  for (const hook of hooks.reverse()) hook()
})

async function succeeds(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await vmapipe(args)
  assert.equal(code, 0, stderr)
  assert.ok(!stderr.includes(SECRET) && !stdout.includes(SECRET))
  return stdout.toString()
}

const backup = (to: string, ...more: string[]) => ['backup', '-q', '-d', `drive-scsi0=${disk}`, '-o', to, ...more]

/** The uploads that are not finished. */
async function uploads(): Promise<{ name: string; id: string }[]> {
  return JSON.parse(await succeeds('list', 's3://vms/', '--uploads', '--json'))
}

test('an archive in a bucket: backup, verify, list, cat, config, repack, restore', options, async () => {
  await succeeds(...backup('s3://vms/vm.vma.zst', '-c', `qemu-server.conf=${config}`, '--verify'))
  assert.match(await succeeds('list', 's3://vms/vm.vma.zst'), /DEV: dev_id=1 size: 41943040 devname: drive-scsi0/)
  await succeeds('verify', '-q', 's3://vms/vm.vma.zst')
  assert.equal(await succeeds('config', 's3://vms/vm.vma.zst'), readFileSync(config, 'utf8'))
  const { code, stdout, stderr } = await vmapipe(['cat', '-q', 's3://vms/vm.vma.zst', 'drive-scsi0'])
  assert.equal(code, 0, stderr)
  assert.ok(stdout.equals(readFileSync(disk)))
  await succeeds('repack', '-q', 's3://vms/vm.vma.zst', '-o', 's3://vms/old/vm.vma.lz4')
  await succeeds('restore', '-q', 's3://vms/old/vm.vma.lz4', join(dir, 'restored'))
  execFileSync('cmp', [disk, join(dir, 'restored', 'disk-drive-scsi0.raw')])
  assert.match(
    oneLine(await vmapipe(backup('s3://vms/vm.vma.zst'))),
    /'s3:\/\/vms\/vm\.vma\.zst' exists and was not overwritten.*--force/,
  )
  await succeeds(...backup('s3://vms/vm.vma.zst', '--force'))
})

test('what is in a bucket is listed, up to a folder in it', options, async () => {
  const names = async (of: string) =>
    JSON.parse(await succeeds('list', '--json', of)).map(({ name }: { name: string }) => name)
  await succeeds(...backup('s3://vms/listed/a.vma'))
  await succeeds(...backup('s3://vms/listed/b.vma'))
  assert.deepEqual(await names('s3://vms/listed/'), ['s3://vms/listed/a.vma', 's3://vms/listed/b.vma'])
  assert.match(await succeeds('list', 's3://vms/listed/'), /^\S+ +\d+ {2}s3:\/\/vms\/listed\/a\.vma\n/)
  assert.ok((await names('s3://vms')).includes('s3://vms/listed/a.vma'))
})

test(
  'an incremental archive finds its parent in the bucket, by its name or as the newest of the guest',
  options,
  async () => {
    await succeeds(...backup('s3://vms/chain/full.vma.zst', '--guest', 'vm1'))
    const target = (name: string) => `s3://vms/chain/${name}.vmi.zst`
    await succeeds(...backup(target('one'), '--guest', 'vm1', '--since', 's3://vms/chain/full.vma.zst'))
    const { stderr, code } = await vmapipe(
      backup(target('two'), '--guest', 'vm1', '--since', 'auto').filter((word) => word !== '-q'),
    )
    assert.equal(code, 0, stderr)
    assert.match(stderr, /incremental since 's3:\/\/vms\/chain\/one\.vmi\.zst'/)
    const { stdout } = await vmapipe(['cat', '-q', target('two'), 'drive-scsi0'])
    assert.ok(stdout.equals(readFileSync(disk)))
  },
)

test('an archive without an index gets one beside it in the bucket, which is used', options, async () => {
  await succeeds(...backup('s3://vms/plain.vma', '--no-index'))
  assert.match(await succeeds('index', '-q', 's3://vms/plain.vma'), /^$|s3:\/\/vms\/plain\.vma\.idx/)
  assert.ok(((await openPlace('s3://vms/plain.vma.idx').stat!())?.size ?? 0) > 0)
  const read = async () => vmapipe(['cat', '-v', 's3://vms/plain.vma', 'drive-scsi0'])
  assert.ok((await read()).stdout.equals(readFileSync(disk)))
  await succeeds(...backup('s3://vms/plain.vma', '--no-index', '--force'))
  const { stdout, stderr } = await read()
  assert.match(stderr, /index beside the archive is not used.*out of date/)
  assert.ok(stdout.equals(readFileSync(disk)))
})

test('a drive is exported out of the bucket', { ...options, ...needs(...SWIFT, 'nbdcopy') }, async () => {
  await succeeds(...backup('s3://vms/exported.vma.zst'))
  const socket = join(dir, 'e.nbd')
  const child = startCli(['export', 's3://vms/exported.vma.zst', '--socket', socket])
  try {
    const said: Buffer[] = []
    child.stdout.on('data', (data) => said.push(data))
    child.stderr.on('data', (data) => said.push(data))
    await until(() => Buffer.concat(said).includes(socket), 'the socket')
    execFileSync('nbdcopy', [`nbd+unix:///drive-scsi0?socket=${socket}`, join(dir, 'copied.raw')])
    execFileSync('cmp', [disk, join(dir, 'copied.raw')])
  } finally {
    const closed = once(child, 'close')
    child.kill('SIGTERM')
    await closed
  }
})

test('a backup that a signal ends takes its upload along', options, async () => {
  const child = startCli(backup('s3://vms/ended.vma', '--bwlimit', '1MiB/s'))
  await untilUploading('ended.vma')
  const closed = once(child, 'close')
  child.kill('SIGTERM')
  const [code] = await closed
  assert.equal(code, 130)
  assert.deepEqual(await uploads(), [])
  assert.equal(await openPlace('s3://vms/ended.vma').stat!(), null)
})

test('what a killed backup leaves is named by the next one, listed and aborted', options, async () => {
  const child = startCli(backup('s3://vms/killed.vma', '--bwlimit', '1MiB/s'))
  await untilUploading('killed.vma')
  const closed = once(child, 'close')
  child.kill('SIGKILL')
  await closed
  assert.deepEqual(
    (await uploads()).map(({ name }) => name),
    ['s3://vms/killed.vma'],
  )
  const { code, stderr } = await vmapipe(backup('s3://vms/killed.vma').filter((word) => word !== '-q'))
  assert.equal(code, 0)
  assert.match(
    stderr,
    /an upload of s3:\/\/vms\/killed\.vma that was begun at \S+ is not finished.*list s3:\/\/vms\/ --abort-uploads/,
  )
  assert.match(await succeeds('list', 's3://vms/', '--abort-uploads'), /aborted {2}s3:\/\/vms\/killed\.vma/)
  assert.deepEqual(await uploads(), [])
})

test('what makes no sense is refused before anything is written', options, async () => {
  const cases: [string[], RegExp][] = [
    [['list', 'x.vma', '--uploads'], /are for a bucket; such as s3:\/\/bucket\//],
    [backup(join(dir, 'x.vma'), '--retain-until', '2999-01-01'), /are for archives in a store.*s3:\/\/bucket\/name/],
    [backup('s3://vms/x.vma', '--retain-until', 'tomorrow'), /'tomorrow' is not a time/],
    [backup('s3://vms/x.vma', '--retain-until', '2001-01-01'), /has passed/],
    [backup('s3://vms/x.vma', '--sse', 'rot13'), /'rot13' is no encryption/],
    [backup('s3://vms/'), /names no archive/],
    [backup('s3://vms/x'), /does not tell the compression/],
  ]
  for (const [args, wanted] of cases) {
    const outcome = await vmapipe(args)
    assert.match(oneLine(outcome), wanted)
    assert.equal(outcome.code, 2, args.join(' '))
  }
  const none = { AWS_ACCESS_KEY_ID: '', AWS_SECRET_ACCESS_KEY: '', HOME: dir }
  const outcome = await vmapipe(['list', 's3://vms/vm.vma.zst'], { env: none })
  assert.match(
    oneLine(outcome),
    /no credentials for S3: AWS_ACCESS_KEY_ID is not set, and profile 'default' has no aws_access_key_id/,
  )
  assert.equal(outcome.code, 2)
})

async function untilUploading(name: string): Promise<void> {
  for (const end = Date.now() + 60_000; Date.now() < end; ) {
    if ((await uploads()).some((upload) => upload.name === `s3://vms/${name}`)) return
  }
  assert.fail('no upload was begun')
}
