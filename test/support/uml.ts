/**
 * Another kernel for filesystems that the running one does not have: Debian's user-mode-linux, whose root is the machine's own
 * filesystem. It runs a shell script as its first process, and boots in a second.
 */

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { loadModules } from './guest/modules.ts'
import { tmpDir } from './tmp.ts'

const MODULES = '/usr/lib/uml/modules'
const LONGEST_MS = 300_000

/** Registers of AMX do not fit into what Debian 12's user-mode-linux has for them: it ends as it starts its first process. */
const HAS_AMX = / amx_tile\b/.test(readFileSync('/proc/cpuinfo', 'utf8'))

/** Why it has run nothing, if no package can help that. */
export function cannotRun({ output }: UmlOutcome): string | null {
  return output === '' && HAS_AMX ? 'user-mode-linux does not run on a processor with AMX' : null
}

export interface UmlOutcome {
  /** What the script has written, and its exit code. */
  output: string
  code: number
}

/** Runs the script with these kernel modules; /mnt and /run are empty and its own, and the working directory is /mnt. */
export async function inUml(
  t: { after(hook: () => unknown): void },
  modules: readonly string[],
  script: string,
): Promise<UmlOutcome> {
  const dir = tmpDir(t)
  const [version] = readdirSync(MODULES)
  const loaded = loadModules(join(MODULES, version), modules)
  for (const { name, data } of loaded) writeFileSync(join(dir, `${name}.ko`), data)
  const init = join(dir, 'init')
  writeFileSync(
    init,
    `#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/mnt TMPDIR=/mnt
exec >'${dir}/output' 2>&1
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t tmpfs tmp /run; mount -t tmpfs -o size=600m tmp /mnt
for module in ${loaded.map(({ name }) => name).join(' ')}; do busybox insmod '${dir}'/$module.ko; done
busybox ip link set lo up; busybox ip addr add 127.0.0.1/8 dev lo 2>/dev/null
cd /mnt
(set -e
${script}
)
echo $? >'${dir}/code'
cd /; busybox poweroff -f
`,
    { mode: 0o755 },
  )
  const args = ['mem=1G', 'root=/dev/root', 'rootfstype=hostfs', 'rootflags=/', 'rw', `init=${init}`]
  const kernel = spawn('linux.uml', [...args, 'con=null', 'con0=fd:0,fd:1'], {
    stdio: ['ignore', 'ignore', 'ignore'],
    timeout: LONGEST_MS,
    killSignal: 'SIGKILL',
    detached: true,
  })
  t.after(() => kernel.kill('SIGKILL'))
  await once(kernel, 'exit')
  const read = (name: string) => (existsSync(join(dir, name)) ? readFileSync(join(dir, name), 'utf8') : '')
  return { output: read('output'), code: Number(read('code') || 'NaN') }
}
