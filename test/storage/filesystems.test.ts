import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { FILESYSTEMS, kernelHas } from '../support/filesystems.ts'
import { needsLoopDevice } from '../support/loop-device.ts'
import { needs } from '../support/tools.ts'
import { inUml } from '../support/uml.ts'

const timeout = 200_000
const CONTRACT = join(import.meta.dirname, 'publish-contract.ts')

/** In a folder of it: some have a `lost+found`. */
async function keepsTo(mounted: string): Promise<void> {
  const folder = join(mounted, 'folder')
  mkdirSync(folder)
  const child = spawn(process.execPath, [CONTRACT, folder], { stdio: ['ignore', 'ignore', 'pipe'], timeout: 60_000 })
  let said = ''
  child.stderr.on('data', (data) => {
    said += data
  })
  const [code] = await once(child, 'close')
  assert.equal(code, 0, said)
}

describe('a file gets its name whole or not at all, and what is left is removed', {
  timeout,
  ...needsLoopDevice,
}, () => {
  for (const [name, { programs, kernel, mount }] of Object.entries(FILESYSTEMS)) {
    const missing = kernelHas(kernel) ? false : `the kernel has no ${kernel}`
    // What the kernel lacks no package brings; see "under another kernel".
    const wanted = missing ? { skip: missing } : needs(...programs, 'qemu-img', 'qemu-nbd')
    test(`on ${name}`, wanted, async (t) => keepsTo(await mount(t)))
  }
})

describe('the same under another kernel', { timeout, ...needs('linux.uml', 'busybox', 'qemu-img', 'qemu-nbd') }, () => {
  const contract = `'${process.execPath}' '${CONTRACT}'`
  const run = async (t: TestContext, modules: string[], script: string) => {
    const { code, output } = await inUml(t, modules, script)
    assert.equal(code, 0, output)
  }

  test('on vfat', needs('mkfs.vfat'), (t) =>
    run(
      t,
      ['vfat', 'nls_cp437', 'nls_iso8859_1', 'nls_ascii', 'loop'],
      `truncate -s 64M image; mkfs.vfat image >/dev/null; mkdir fat; mount -o loop image fat; ${contract} /mnt/fat`,
    ),
  )

  const NFS = ['nfs', 'nfsv3', 'nfsv4', 'nfsd', 'loop']
  const served = `
mount -t tmpfs tmp /var/lib/nfs; mkdir /var/lib/nfs/v4recovery /var/lib/nfs/sm /var/lib/nfs/sm.bak
: >/var/lib/nfs/etab; : >/var/lib/nfs/rmtab; : >/var/lib/nfs/state
truncate -s 64M image; mkfs.ext4 -q image; mkdir disk nfs; mount -o loop image disk; mkdir disk/export
mount -t nfsd nfsd /proc/fs/nfsd; rpcbind
# A server that has just started gives no locks for a while.
echo 1 >/proc/sys/fs/nfs/nlm_grace_period
exportfs -o rw,no_root_squash,insecure,no_subtree_check,fsid=0 127.0.0.1:/mnt/disk; rpc.mountd 2>/dev/null
rpc.statd --no-notify 2>/dev/null; rpc.nfsd 2; echo Y >/proc/fs/nfsd/v4_end_grace`
  for (const [version, path] of Object.entries({ '3': '/mnt/disk', '4.2': '/' })) {
    test(`on a real NFS server, version ${version}`, needs('rpc.nfsd', 'rpcbind', 'mount.nfs'), (t) =>
      run(t, NFS, `${served}\nmount -t nfs -o vers=${version} 127.0.0.1:${path} nfs; ${contract} /mnt/nfs/export`),
    )
  }
})
