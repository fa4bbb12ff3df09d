/** Completion in the real shells, each started without the files of its user. */

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { COMPLETIONS, SHELLS } from '../../../src/cli/completion/completions.ts'
import { allCommands, describeCommand } from '../../../src/cli/describe-commands.ts'
import { makeProgram } from '../../../src/cli/program.ts'
import { tmpDir } from '../../support/tmp.ts'
import { needs } from '../../support/tools.ts'
import { vmapipe } from '../cli.ts'

type Shell = (typeof SHELLS)[number]

const limits = { timeout: 120_000 }

for (const shell of SHELLS) {
  describe(`completion in ${shell}`, { ...limits, ...needs(shell) }, () => {
    const hooks: (() => void)[] = []
    let world: World
    before(async () => {
      world = await makeWorld({ after: (hook) => void hooks.unshift(hook) })
    })
    after(() => {
      for (const hook of hooks) hook()
    })
    const completed = (line: string) => complete(shell, line, world)

    test('knows commands, and those below them', () => {
      assert.deepEqual(completed('vmapipe res'), ['restore'])
      assert.deepEqual(completed('vmapipe job un'), ['uninstall'])
      assert.deepEqual(completed('vmapipe job --no-color ins'), ['install'])
    })

    test('knows flags and their choices', () => {
      assert.deepEqual(completed('vmapipe verify --console-p'), ['--console-pattern'])
      assert.deepEqual(completed('vmapipe verify --firmware u'), ['uefi'])
      assert.deepEqual(completed('vmapipe completion z'), ['zsh'])
    })

    test('knows guests, whatever they are called, and runs nothing that they contain', () => {
      assert.deepEqual(completed('vmapipe backup --libvirt web'), ['web01', 'web02'])
      assert.equal(completed('vmapipe backup --libvirt evil').length, 1)
      assert.equal(completed('vmapipe backup --libvirt two').length, 1)
      assert.ok(!existsSync(join(world.folder, 'PWNED')) && !existsSync(join(world.home, 'PWNED')))
    })

    test('knows jobs, control sockets and archives', () => {
      assert.deepEqual(completed('vmapipe job run night'), ['nightly'])
      assert.deepEqual(completed('vmapipe verify mon'), ['monday.vma.zst'])
      assert.deepEqual(completed(`vmapipe backup --attach ${world.runtime}/v`), [`${world.runtime}/vm1.ctl`])
    })

    test('knows the places of jobs', () => {
      assert.deepEqual(completed('vmapipe archives s3://off'), ['s3://offsite/vms'])
    })

    // Each of them takes longer to start than anybody waits for a key.
    test('starts neither Node nor vmapipe itself', () => {
      const started = join(world.folder, 'STARTED')
      for (const name of ['node', 'vmapipe', 'npx']) {
        writeFileSync(join(world.bin, name), `#!/bin/sh\necho ${name} >>${started}\n`, { mode: 0o755 })
      }
      for (const line of ['res', 'backup --libvirt web', 'job run night', 'verify mon', 'archives s3://off'])
        assert.ok(completed(`vmapipe ${line}`).length > 0, line)
      assert.ok(!existsSync(started), 'something was started')
    })
  })
}

test('every command is in every script, and the command prints the same script', limits, async () => {
  const program = describeCommand(await makeProgram(['node', 'vmapipe']))
  const { stdout, code } = await vmapipe(['completion', 'bash'])
  assert.equal(code, 0)
  assert.equal(stdout.toString(), COMPLETIONS.bash(program))
  for (const shell of SHELLS) {
    const script = COMPLETIONS[shell](program)
    for (const { path } of allCommands(program).slice(1)) assert.ok(script.includes(path.at(-1)!), `${shell}: ${path}`)
  }
})

interface World {
  folder: string
  home: string
  bin: string
  runtime: string
  scripts: Record<Shell, string>
}

/** A user with jobs, archives, a control socket, and a libvirt with guests of all kinds of names. */
async function makeWorld(t: { after(hook: () => void): void }): Promise<World> {
  const root = tmpDir(t)
  const [folder, home, bin, runtime] = ['here', 'home', 'bin', 'run'].map((name) => join(root, name))
  for (const path of [folder, bin, runtime, join(home, '.config/vmapipe/jobs')]) mkdirSync(path, { recursive: true })
  const guests = ['web01', 'web02', 'evil$(touch PWNED)`touch PWNED`;touch PWNED', 'two words']
  writeFileSync(join(bin, 'virsh'), `#!/bin/sh\ncat <<'EOF'\n${guests.join('\n')}\n\nEOF\n`)
  chmodSync(join(bin, 'virsh'), 0o755)
  const job =
    'guests: [{ libvirt: "*" }]\nto:\n  - place: s3://offsite/vms\n    required: false\n  - place: /srv/backup\n'
  writeFileSync(join(home, '.config/vmapipe/jobs/nightly.yaml'), job)
  for (const name of ['monday.vma.zst', 'monday.vma.zst.checks', 'monday.txt']) writeFileSync(join(folder, name), '')
  const control = createServer().listen(join(runtime, 'vm1.ctl'))
  t.after(() => control.close())
  await new Promise((resolve) => control.once('listening', resolve))
  const program = describeCommand(await makeProgram(['node', 'vmapipe']))
  const scripts = Object.fromEntries(
    SHELLS.map((shell) => {
      const path = join(root, `vmapipe.${shell}`)
      writeFileSync(path, COMPLETIONS[shell](program))
      return [shell, path]
    }),
  ) as Record<Shell, string>
  return { folder, home, bin, runtime, scripts }
}

/** What the shell offers for the last word of the line. */
function complete(shell: Shell, line: string, { folder, home, bin, runtime, scripts }: World): string[] {
  const env = {
    PATH: `${bin}:${process.env.PATH}`,
    HOME: home,
    XDG_RUNTIME_DIR: runtime,
    LANG: 'C.UTF-8',
    TERM: 'dumb',
  }
  const run = (args: string[], input?: string) => {
    const { stdout, stderr, status } = spawnSync(shell, args, {
      cwd: folder,
      env,
      input,
      encoding: 'utf8',
      timeout: 60_000,
    })
    assert.deepEqual([status, stderr], [0, ''])
    return stdout
  }
  return DRIVERS[shell](line, scripts[shell], run)
    .split('\n')
    .map((found) => found.trim())
    .filter((found) => found !== '')
    .sort()
}

type Run = (args: string[], input?: string) => string

const DRIVERS: Record<Shell, (line: string, script: string, run: Run) => string> = {
  bash(line, script, run) {
    const words = line.split(' ')
    const call = `source ${script}; COMP_WORDS=(${words.map((word) => `'${word}'`).join(' ')}); COMP_CWORD=${words.length - 1}
[[ \${COMP_WORDS[0]} == vmapipe ]] && _vmapipe; printf '%s\\n' "\${COMPREPLY[@]}"`
    return run(['--norc', '--noprofile', '-c', call])
  },
  fish: (line, script, run) => {
    const out = run(['--no-config', '-c', `source ${script}; complete -C '${line}'`])
    return out.replaceAll(/\t.*$/gm, '')
  },
  // The line editor in a terminal of its own: it lists what it would offer between two marks.
  zsh: (line, script, run) => run(['-f', '-c', ZSH, 'zsh', line, script]).replaceAll('\r', ''),
}

const ZSH = `
zmodload zsh/zpty
zpty shell zsh -f -i
send() { zpty -w shell "$1" }
# Everything until the mark, which the line itself has in another form.
expect() { local text all; while zpty -r shell text; do all+=$text; [[ $all == *$1* ]] && break; done; REPLY=$all }
send 'PROMPT= RPROMPT= LISTMAX=0; unsetopt promptsp zle_bracketed_paste 2>/dev/null; unset zle_bracketed_paste; stty -echo cols 200; autoload -Uz compinit; compinit -u -d $HOME/.zcompdump'
send "source $2"
send 'zstyle ":completion:*" verbose no; zstyle ":completion:*" list-prompt ""; zstyle ":completion:*:default" list-colors ""'
send 'compadd() { local -a _seen; if [[ " $* " != *" -O "* && " $* " != *" -A "* && " $* " != *" -D "* ]]; then builtin compadd -O _seen "$@"; print -rl -- $_seen >>$OUT; fi; builtin compadd "$@" }'
out=$(mktemp)
send "OUT=$out; print RE''ADY"
expect READY
zpty -w -n shell "$1"$'\\t'
sleep 0.05
zpty -w -n shell $'\\025'
send "print DO''NE"
expect DONE
cat $out; rm -f $out
zpty -d shell
`
