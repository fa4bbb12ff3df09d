import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { makeBootDisk, needsBootDisk } from '../../support/guest/boot-disk.ts'
import { makeGuestDisk } from '../../support/guest/disk.ts'
import { needsGuest } from '../../support/guest/machine.ts'
import { writeImage } from '../../support/image.ts'
import { needsLibvirt } from '../../support/libvirt.ts'
import { consoleOf } from '../../support/libvirt-domain.ts'
import { tmpDir } from '../../support/tmp.ts'
import { needs } from '../../support/tools.ts'
import { brokenVirsh, suiteHost } from './host.ts'

const MIB = 2 ** 20
const BOOT_MS = 150_000

describe('a restore of a guest of libvirt', { ...needsLibvirt() }, () => {
  const host = suiteHost()

  /** Two disks of some megabytes, and the archive of the domain that has them. */
  const small = async (dir: string, name: string) => {
    const raw = join(dir, 'raw.img')
    writeImage(raw, 6 * MIB, { noise: 3 * MIB, tail: MIB })
    const qcow2 = join(dir, 'disk.qcow2')
    execFileSync('qemu-img', ['convert', '-O', 'qcow2', raw, qcow2])
    await host.define(dir, { name, disks: [{ file: raw }, { file: qcow2, format: 'qcow2' }] })
    return { raw: readFileSync(raw), archive: await host.archive(dir, name) }
  }
  const noSuchDomain = async (name: string) =>
    assert.doesNotMatch(await host.libvirt.virsh('list', '--all', '--name'), new RegExp(`^${name}$`, 'm'))

  for (const uefi of [false, true]) {
    test(`boots again ${uefi ? 'with UEFI, whose variables and TPM are as they were' : 'with a BIOS'}, and says so`, {
      timeout: 400_000,
      ...(uefi ? needs('swtpm') : {}),
      ...needsGuest(),
      ...needsBootDisk(),
    }, async (t) => {
      const dir = tmpDir(t)
      const [boot, root] = [join(dir, 'boot.img'), join(dir, 'root.img')]
      makeBootDisk(boot)
      makeGuestDisk(root, 'restored-well')
      const qcow2 = join(dir, 'root.qcow2')
      execFileSync('qemu-img', ['convert', '-O', 'qcow2', root, qcow2])
      const name = uefi ? 'uefi' : 'bios'
      await host.define(dir, { name, disks: [{ file: boot }, { file: qcow2, format: 'qcow2' }], uefi, tpm: uefi })
      let variables: Buffer | null = null
      const inside = (...command: string[]) =>
        execFileSync(host.libvirt.inside[0], [...host.libvirt.inside.slice(1), ...command], { maxBuffer: 8 * MIB })
      let state: Buffer | null = null
      if (uefi) {
        // libvirt makes the variables and the TPM at the first start.
        await host.libvirt.virsh('start', name, '--paused')
        await host.libvirt.virsh('destroy', name)
        variables = inside('cat', `/var/lib/libvirt/qemu/nvram/${name}_VARS.fd`)
        variables.write('a variable of this very guest', variables.length - 4096)
        writeFileSync(join(dir, 'vars'), variables)
        inside('cp', join(dir, 'vars'), `/var/lib/libvirt/qemu/nvram/${name}_VARS.fd`)
        state = inside('sh', '-c', 'cat /var/lib/libvirt/swtpm/*/tpm2/tpm2-00.permall')
      }
      const archive = await host.archive(dir, name)
      const folder = await host.pool(dir, `pool-${name}`)
      const { code, stderr } = await host.run(['restore', archive, '--define', '--pool', `pool-${name}`])
      assert.equal(code, 0, stderr)
      assert.doesNotMatch(stderr, /WARNING/, 'nothing of such a guest is left out')
      const files = readdirSync(folder).sort()
      assert.deepEqual(files, [`${name}-vda.img`, `${name}-vdb.qcow2`, ...(uefi ? [`${name}_VARS.fd`] : [])])
      assert.ok(readFileSync(join(folder, files[0])).equals(readFileSync(boot)))
      if (uefi) {
        assert.ok(readFileSync(join(folder, files[2])).equals(variables!))
        assert.ok(inside('sh', '-c', 'cat /var/lib/libvirt/swtpm/*/tpm2/tpm2-00.permall').equals(state!))
        assert.match(
          await host.libvirt.virsh('dumpxml', name, '--inactive'),
          new RegExp(`<nvram>${folder}/${name}_VARS.fd</nvram>`),
        )
      }
      await host.libvirt.virsh('start', name)
      const console = await consoleOf(t, host.libvirt, name)
      await console.waitFor('BOOTED restored-well .*', BOOT_MS, () => false)
    })
  }

  test('makes a copy beside the original, in a folder, of one format', {
    timeout: 120_000,
    ...needs('qemu-img'),
  }, async (t) => {
    const dir = tmpDir(t)
    const { raw, archive } = await small(dir, 'copied')
    const first = await host.run(['restore', archive, join(dir, 'first'), '--define', '-q'])
    assert.equal(first.code, 0, first.stderr)
    const again = await host.run(['restore', archive, join(dir, 'second'), '--define'])
    assert.equal(again.code, 1)
    assert.match(again.stderr, /there is a domain 'copied' already; .*--new-name NAME --new-uuid --new-mac/)
    const renamed = await host.run(['restore', archive, join(dir, 'second'), '--libvirt', 'other'])
    assert.match(renamed.stderr, /the domain 'copied' has the uuid .* of this guest; .*--new-uuid/)
    const copy = ['--libvirt', 'other', '--new-uuid', '--new-mac', '--format', 'raw']
    const { code, stderr } = await host.run(['restore', archive, join(dir, 'second'), ...copy])
    assert.equal(code, 0, stderr)
    assert.deepEqual(readdirSync(join(dir, 'second')).sort(), ['other-vda.img', 'other-vdb.img'])
    for (const file of ['other-vda.img', 'other-vdb.img'])
      assert.ok(readFileSync(join(dir, 'second', file)).equals(raw), file)
    const xml = await host.libvirt.virsh('dumpxml', 'other', '--inactive')
    assert.doesNotMatch(xml, /52:54:00:12:34:56/)
    assert.match(xml, /mac address='52:54:00:/)
    assert.notEqual(await host.libvirt.virsh('domuuid', 'other'), await host.libvirt.virsh('domuuid', 'copied'))
  })

  test('replaces a domain only with --force and if it is shut off, and keeps its images', {
    timeout: 120_000,
  }, async (t) => {
    const dir = tmpDir(t)
    const { raw, archive } = await small(dir, 'forced')
    const folder = join(dir, 'images')
    assert.equal((await host.run(['restore', archive, folder, '--define', '-q'])).code, 0)
    writeFileSync(join(folder, 'forced-vda.img'), 'what the guest has now')
    await host.libvirt.virsh('start', 'forced', '--paused')
    const running = await host.run(['restore', archive, folder, '--define', '--force'])
    assert.match(running.stderr, /the domain 'forced' runs/)
    await host.libvirt.virsh('destroy', 'forced')
    const { code, stderr } = await host.run(['restore', archive, folder, '--define', '--force'])
    assert.equal(code, 0, stderr)
    assert.match(stderr, /the former image '.*forced-vda\.img' is kept/)
    assert.equal(readFileSync(join(folder, 'forced-vda.img'), 'latin1').slice(0, 22), 'what the guest has now')
    assert.ok(readFileSync(join(folder, 'forced-vda-2.img')).equals(raw))
    assert.match(await host.libvirt.virsh('domblklist', 'forced'), /forced-vda-2\.img/)
  })

  test('leaves nothing if libvirt refuses the domain, or the disk is full', { timeout: 120_000 }, async (t) => {
    const dir = tmpDir(t)
    const { archive } = await small(dir, 'refused')
    const folder = join(dir, 'images')
    const PATH = brokenVirsh(dir, 'define', 'echo "error: made up" >&2; exit 1')
    const refused = await host.run(['restore', archive, folder, '--define', '-q'], { env: { PATH } })
    assert.equal(refused.code, 1)
    assert.match(refused.stderr, /virsh: made up/)
    assert.deepEqual(readdirSync(folder), [])
    await noSuchDomain('refused')

    const full = join(dir, 'full')
    mkdirSync(full)
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=5m', 'tmpfs', full])
    try {
      const { code, stderr } = await host.run(['restore', archive, full, '--define', '-q'], { inside: [] })
      assert.equal(code, 1)
      assert.match(stderr, /[Nn]o space left/)
      assert.deepEqual(readdirSync(full), [])
    } finally {
      execFileSync('umount', [full])
    }
    await noSuchDomain('refused')
  })

  test('goes on after it was killed: before libvirt had the domain, and after', { timeout: 120_000 }, async (t) => {
    const dir = tmpDir(t)
    const { raw, archive } = await small(dir, 'killed')
    const folder = join(dir, 'images')
    const PATH = brokenVirsh(dir, 'define', 'kill -9 $PPID; exit 1')
    const killed = await host.run(['restore', archive, folder, '--define', '-q'], { env: { PATH } })
    assert.notEqual(killed.code, 0)
    assert.deepEqual(readdirSync(folder).sort(), ['.killed.vmapipe-restore', 'killed-vda.img', 'killed-vdb.qcow2'])
    await noSuchDomain('killed')
    writeFileSync(join(folder, 'killed-vda.img'), 'left over', { flag: 'r+' })

    const late = brokenVirsh(dir, 'define', '"$real" "$@"; kill -9 $PPID; exit 1')
    await host.run(['restore', archive, folder, '--define', '-q'], { env: { PATH: late } })
    assert.ok(readFileSync(join(folder, 'killed-vda.img')).equals(raw), 'what the killed run had left is replaced')
    assert.match(await host.libvirt.virsh('domblklist', 'killed'), /killed-vda\.img/)

    const again = await host.run(['restore', archive, folder, '--define', '-q'])
    assert.match(again.stderr, /there is a domain 'killed' already/)
    assert.deepEqual(
      readdirSync(folder).sort(),
      ['killed-vda.img', 'killed-vdb.qcow2'],
      'the images of the domain stay',
    )
  })

  test('says what it cannot restore', { timeout: 120_000 }, async (t) => {
    const dir = tmpDir(t)
    const raw = join(dir, 'raw.img')
    writeImage(raw, MIB, { noise: 65536 })
    const plain = join(dir, 'plain.vma')
    assert.equal((await host.run(['backup', '-d', `drive-x=${raw}`, '-o', plain, '-q'])).code, 0)
    const without = await host.run(['restore', plain, dir, '--define'])
    assert.equal(without.code, 1)
    assert.match(without.stderr, /the archive has no domain\.xml: it is not of a guest of libvirt/)
    const { archive } = await small(dir, 'spoken')
    const pool = await host.run(['restore', archive, '--define', '--pool', 'no-such-pool'])
    assert.match(pool.stderr, /libvirt has no storage pool 'no-such-pool'/)
    const both = await host.run(['restore', archive, dir, '--define', '--pool', 'x'])
    assert.equal(both.code, 2)
    const flags = await host.run(['restore', archive, dir, '--new-mac'])
    assert.match(flags.stderr, /--new-mac is for a guest of libvirt; add --libvirt NAME or --define/)
    const stream = await host.run(['restore', '-', dir, '--define'])
    assert.match(stream.stderr, /an archive that can be read twice/)
  })
})
