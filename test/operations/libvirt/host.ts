/** A libvirt for the tests of restores, with guests that boot by themselves. */

import assert from 'node:assert/strict'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before } from 'node:test'
import { type CliOptions, type Outcome, vmapipe } from '../../cli/cli.ts'
import { type Libvirt, startLibvirt } from '../../support/libvirt.ts'
import { type DomainWish, domainXml } from '../../support/libvirt-domain.ts'
import { tmpDir } from '../../support/tmp.ts'
import { which } from '../../support/tools.ts'

export interface Host {
  libvirt: Libvirt
  env: Record<string, string>
  run(args: readonly string[], options?: CliOptions): Promise<Outcome>
  define(dir: string, wish: DomainWish): Promise<void>
  /** Backs up the domain, which is shut off, and undefines it. Returns the archive. */
  archive(dir: string, name: string): Promise<string>
  /** A new pool, and its folder. */
  pool(dir: string, name: string): Promise<string>
}

/** One for all tests of a suite: call it in `describe`. */
export function suiteHost(): Host {
  const hooks: (() => unknown)[] = []
  const suite = { after: (hook: () => unknown) => void hooks.push(hook) }
  const host = {} as Host
  before(async () => {
    const libvirt = await startLibvirt(suite, tmpDir(suite))
    const env = { LIBVIRT_DEFAULT_URI: libvirt.uri }
    const run: Host['run'] = (args, options = {}) =>
      vmapipe([...args], { inside: libvirt.inside, ...options, env: { ...env, ...options.env } })
    Object.assign(host, {
      libvirt,
      env,
      run,
      async define(dir, wish) {
        const file = join(dir, `${wish.name}.xml`)
        writeFileSync(file, domainXml(wish))
        await libvirt.virsh('define', file)
      },
      async archive(dir, name) {
        const archive = join(dir, `${name}.vma.zst`)
        const { code, stderr } = await run(['backup', '--libvirt', name, '-o', archive])
        assert.equal(code, 0, stderr)
        await libvirt.virsh('undefine', name, '--nvram', '--tpm')
        return archive
      },
      async pool(dir, name) {
        const folder = join(dir, name)
        mkdirSync(folder)
        await libvirt.virsh('pool-create-as', name, 'dir', '--target', folder)
        return folder
      },
    } satisfies Host)
  })
  after(async () => {
    for (const hook of hooks.reverse()) await hook()
  })
  return host
}

/** A folder for the PATH, with a virsh that does something of its own for one command (`$0` is the real one). */
export function brokenVirsh(dir: string, command: string, script: string): string {
  const folder = join(dir, `bin-${command}`)
  mkdirSync(folder, { recursive: true })
  const text = `#!/bin/sh\nreal=${which('virsh')}\ncase " $* " in *" ${command} "*) ${script};; esac\nexec "$real" "$@"\n`
  writeFileSync(join(folder, 'virsh'), text, { mode: 0o755 })
  return `${folder}:${process.env.PATH}`
}
