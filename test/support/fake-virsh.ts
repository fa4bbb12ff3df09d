/**
 * A virsh that a test makes up, on the PATH: it reads commands as the real one does (words, quotes, `;`, `echo`), shows a
 * prompt and repeats each line. What `qemu-monitor-command` does is the test's. There is one domain, vm1, which runs.
 */

import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { tmpDir } from './tmp.ts'

type Hooks = { after(hook: () => void): void }

const SHELL = (log: string) => `#!${process.execPath}
const { appendFileSync } = require('node:fs')
const say = (text) => process.stdout.write(text)
const note = (text) => appendFileSync(${JSON.stringify(log)}, text + '\\n')
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms))
const starts = () => require('node:fs').readFileSync(${JSON.stringify(log)}, 'utf8').match(/^start/gm).length

function parse(line) {
  const commands = [[]]
  let word = null
  let quote = ''
  for (const char of line) {
    if (quote === '' && (char === "'" || char === '"')) { quote = char; word ??= '' }
    else if (char === quote) quote = ''
    else if (quote === '' && (char === ' ' || char === ';')) {
      if (word !== null) commands.at(-1).push(word)
      word = null
      if (char === ';') commands.push([])
    } else word = (word ?? '') + char
  }
  if (word !== null) commands.at(-1).push(word)
  return commands
}

async function main() {
  const uuid = '00000000-0000-4000-8000-000000000000'
  const verb = process.argv.slice(2).find((word) => !word.startsWith('-'))
  if (verb === 'domuuid') return console.log(uuid)
  if (verb === 'dumpxml') return console.log("<domain type='qemu'><name>vm1</name><devices/></domain>")
  if (verb === 'list') return console.log(uuid + ' vm1')
  note('start ' + process.argv.slice(2).join(' '))
  say('virsh # ')
  for await (const line of require('node:readline').createInterface({ input: process.stdin })) {
    say(line + '\\n')
    for (const [verb, ...args] of parse(line)) {
      if (verb === 'echo') say(args.join(' '))
      else {
        note([verb, ...args].join(' '))
        const [domain, command] = ['--domain=', '--cmd='].map((flag) => args.find((a) => a.startsWith(flag)).slice(flag.length))
        await run(JSON.parse(command), domain, command)
      }
    }
    say('virsh # ')
  }
}

main()
`

/** Puts this text on the PATH as virsh. */
export function putVirsh(t: Hooks, script: string): string {
  const dir = tmpDir(t)
  writeFileSync(join(dir, 'virsh'), script, { mode: 0o755 })
  const { PATH } = process.env
  process.env.PATH = `${dir}:${PATH}`
  t.after(() => {
    process.env.PATH = PATH
  })
  return dir
}

/**
 * `run`: the body of an async function of `command`, `domain` and `text` (the command's JSON) that prints with `say`. It may
 * `sleep`, and ask how many `starts()` of this virsh there were. Returns its log: a line for each start and each command.
 */
export function putFakeVirsh(t: Hooks, run: string): () => string[] {
  const log = join(tmpDir(t), 'log')
  putVirsh(t, `${SHELL(log)}\nasync function run(command, domain, text) {\n${run}\n}\n`)
  return () => (existsSync(log) ? readFileSync(log, 'utf8').trim().split('\n') : [])
}

/** One with a QMP socket behind it, for the domain vm1. */
export function putLibvirt(t: Hooks, qmp: string): () => string[] {
  return putFakeVirsh(
    t,
    `if (domain !== 'vm1') return say("error: failed to get domain '" + domain + "'\\n")
    const socket = require('node:net').connect(${JSON.stringify(qmp)})
    const lines = require('node:readline').createInterface(socket)[Symbol.asyncIterator]()
    const next = async () => {
      for (;;) {
        const message = JSON.parse((await lines.next()).value)
        if (!message.event) return message
      }
    }
    await next()
    socket.write('{"execute": "qmp_capabilities"}')
    await next()
    socket.write(text)
    say(JSON.stringify({ ...(await next()), id: 'libvirt-42' }) + '\\n')
    const closed = new Promise((resolve) => socket.on('close', resolve))
    socket.destroy()
    await closed`,
  )
}
