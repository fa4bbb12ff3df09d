import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { FILESYSTEMS, kernelHas } from '../support/filesystems.ts'
import { needsLoopDevice } from '../support/loop-device.ts'
import { needs } from '../support/tools.ts'
import { cannotRun, inUml, type UmlOutcome } from '../support/uml.ts'

const timeout = 400_000
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

/** What is mounted under another kernel, and needs there: its modules, and a script that runs the contract in a folder of it. */
interface Elsewhere {
  programs: string[]
  modules: string[]
  script: string
}

const contract = `'${process.execPath}' '${CONTRACT}'`

const NFS = {
  programs: ['rpc.nfsd', 'rpcbind', 'mount.nfs'],
  modules: ['nfs', 'nfsv3', 'nfsv4', 'nfsd', 'loop'],
}
/** A server of NFS that is started once, and a folder of it for each version. */
const served = `
if [ ! -d disk ]; then
mount -t tmpfs tmp /var/lib/nfs; mkdir /var/lib/nfs/v4recovery /var/lib/nfs/sm /var/lib/nfs/sm.bak
: >/var/lib/nfs/etab; : >/var/lib/nfs/rmtab; : >/var/lib/nfs/state
truncate -s 64M nfs.image; mkfs.ext4 -q nfs.image; mkdir disk nfs3 nfs4; mount -o loop nfs.image disk; mkdir disk/3 disk/4
mount -t nfsd nfsd /proc/fs/nfsd; rpcbind
# A server that has just started gives no locks for a while.
echo 1 >/proc/sys/fs/nfs/nlm_grace_period
exportfs -o rw,no_root_squash,insecure,no_subtree_check,fsid=0 127.0.0.1:/mnt/disk; rpc.mountd 2>/dev/null
rpc.statd --no-notify 2>/dev/null; rpc.nfsd 2; echo Y >/proc/fs/nfsd/v4_end_grace
fi`

const ELSEWHERE: Record<string, Elsewhere> = {
  'on vfat': {
    programs: ['mkfs.vfat'],
    modules: ['vfat', 'nls_cp437', 'nls_iso8859_1', 'nls_ascii', 'loop'],
    script: `truncate -s 64M image; mkfs.vfat image >/dev/null; mkdir fat; mount -o loop image fat; ${contract} /mnt/fat`,
  },
  'on a real NFS server, version 3': {
    ...NFS,
    script: `${served}\nmount -t nfs -o vers=3 127.0.0.1:/mnt/disk nfs3; ${contract} /mnt/nfs3/3`,
  },
  'on a real NFS server, version 4.2': {
    ...NFS,
    script: `${served}\nmount -t nfs -o vers=4.2 127.0.0.1:/ nfs4; ${contract} /mnt/nfs4/4`,
  },
}

// It boots once, and does all of that while the filesystems of this kernel are tried.
const UML = needs('linux.uml', 'busybox', 'qemu-img', 'qemu-nbd')
const hooks: (() => unknown)[] = []
let outcome: Promise<UmlOutcome>

before(() => {
  if (UML.skip !== false) return
  const tried = Object.entries(ELSEWHERE).filter(([, { programs }]) => needs(...programs).skip === false)
  const modules = [...new Set(tried.flatMap(([, { modules }]) => modules))]
  // Each to its end, whatever becomes of those before.
  const scripts = tried.map(([name, { script }]) => `echo 'BEGIN ${name}'; (set -e\n${script}\n); echo "END $?"`)
  outcome = inUml({ after: (hook) => hooks.push(hook) }, modules, `set +e\n${scripts.join('\n')}`)
  outcome.catch(() => {})
})
after(() => {
  for (const hook of hooks.reverse()) hook()
})

describe('the same under another kernel', { timeout, ...UML }, () => {
  for (const [name, { programs }] of Object.entries(ELSEWHERE)) {
    test(name, needs(...programs), async (t) => {
      const booted = await outcome
      const reason = cannotRun(booted)
      if (reason !== null) return t.skip(reason)
      const [, said] = new RegExp(`BEGIN ${name}\\n([^]*?END \\d+)`).exec(booted.output) ?? []
      assert.match(said ?? `it was not tried: ${booted.output}`, /END 0$/)
    })
  }
})
