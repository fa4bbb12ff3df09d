import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import { generateX25519Identity, identityToRecipient } from 'age-encryption'
import { needs } from '../support/tools.ts'
import { type CliOptions, vmapipe } from './cli.ts'

/** Runs a command; one that ends with an error fails the test, unless it `fails`. */
async function runCli(args: string[], { fails = false, ...options }: CliOptions & { fails?: boolean } = {}) {
  const { code, stdout, stderr } = await vmapipe(args, options)
  if (!fails) assert.equal(code, 0, stderr)
  return { code, stdout: stdout.toString(), stderr }
}

const dir = mkdtempSync(join(tmpdir(), 'vmapipe-test-'))
after(() => rmSync(dir, { recursive: true, force: true }))
const image = join(dir, 'disk.raw')
const key = join(dir, 'key.txt')
const archive = join(dir, 'vm.vma.zst.age')
const disk = Buffer.concat([randomBytes(2 << 20), Buffer.alloc(3 << 20), Buffer.from('the end of it')])
const identity = await generateX25519Identity()
const recipient = await identityToRecipient(identity)
writeFileSync(key, `${identity}\n`)
writeFileSync(image, disk)
await runCli(['backup', '-d', `a=${image}`, '-o', archive, '--recipient', recipient, '--identity', key, '--verify'])

describe('encrypted archives by commands', { timeout: 300_000 }, () => {
  test("Debian's age and zstd read one", needs('age', 'zstd'), () => {
    const bytes = execFileSync('sh', ['-c', `age -d -i ${key} ${archive} | zstd -dc`], { maxBuffer: 1 << 26 })
    assert.equal(bytes.toString('latin1', 0, 4), 'VMA\0')
  })

  test('every command that reads takes the key, by a flag or from the environment', async () => {
    const env = { VMAPIPE_IDENTITY_FILE: key }
    assert.match((await runCli(['verify', archive, '--identity', key])).stdout, /the archive is whole/)
    assert.match((await runCli(['verify', archive], { env })).stdout, /the archive is whole/)
    assert.match((await runCli(['list', archive, '--identity', key])).stdout, /DEV: dev_id=1 size: \d+ devname: a/)
    await runCli(['restore', archive, join(dir, 'out'), '--identity', key])
    assert.ok(readFileSync(join(dir, 'out/disk-a.raw')).subarray(0, disk.length).equals(disk))
    const part = await runCli(['cat', archive, 'a', '--identity', key, '--offset', '5242880', '--length', '13'])
    assert.equal(part.stdout, 'the end of it')
    assert.match((await runCli(['index', archive, '--identity', key])).stdout, /has an index already/)
    await runCli(['repack', archive, '-o', join(dir, 'plain.vma'), '--identity', key])
    assert.match((await runCli(['verify', join(dir, 'plain.vma')])).stdout, /the archive is whole/)
    await runCli(['repack', join(dir, 'plain.vma'), '-o', join(dir, 'again.vma.lz4.age'), '--recipient', recipient])
    assert.match((await runCli(['verify', join(dir, 'again.vma.lz4.age')], { env })).stdout, /the archive is whole/)
  })

  test('without the key, list says for whom it is, and verify what its size tells', async () => {
    assert.match((await runCli(['list', archive])).stdout, /^ENCRYPTED: size: \d+ for 1 recipient \(X25519\)\n$/)
    const { encrypted } = JSON.parse((await runCli(['list', '--json', archive])).stdout)
    assert.deepEqual(encrypted.recipients, ['X25519'])
    const refused = await runCli(['verify', archive], { fails: true })
    assert.equal(refused.code, 2)
    assert.match(refused.stderr, /encrypted for 1 recipient.*bytes are those of a whole one.*--identity/s)
    const cut = join(dir, 'cut.vma.age')
    writeFileSync(cut, readFileSync(archive).subarray(0, 65552 + 300))
    truncateSync(cut, readFileSync(archive).toString('latin1').indexOf('\n--- ') + 49 + 16 + 65552 + 5)
    assert.equal((await runCli(['verify', cut], { fails: true })).code, 3)
  })

  test('a passphrase from a file descriptor encrypts and opens', async () => {
    const input = Buffer.from('a long passphrase\n')
    const sealed = join(dir, 'words.vma.age')
    await runCli(['backup', '-d', `a=${image}`, '-o', sealed, '--passphrase-fd', '0'], { input })
    const { stdout } = await runCli(['verify', sealed, '--passphrase-fd', '0'], { input })
    assert.match(stdout, /the archive is whole/)
  })

  test('a name that does not fit what is done is refused before anything is written', async () => {
    const said = async (...args: string[]) => {
      const { code, stderr } = await runCli(['backup', '-d', `a=${image}`, ...args], { fails: true })
      assert.equal(code, 2)
      return stderr
    }
    assert.match(await said('-o', join(dir, 'x.vma.age')), /says that the archive is encrypted/)
    assert.match(await said('-o', join(dir, 'x.vma'), '--recipient', recipient), /does not say.*add \.age/s)
    assert.match(await said('-o', join(dir, 'x.vma.age'), '--recipient', 'age1nobody'), /not a recipient/)
    assert.match(
      await said('-o', join(dir, 'x.vma.age'), '--recipient', recipient, '--verify'),
      /cannot be read back without its secret key/,
    )
  })
})
