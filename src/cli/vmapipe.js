#!/usr/bin/env node
// The launcher: runs on any Node since 16, finds one that is new enough, and starts the command line with it.
// In a checkout that is main.ts as it stands; the published package ships it compiled, in dist.

import { existsSync, mkdirSync, readFileSync } from 'node:fs'
import module, { createRequire } from 'node:module'
import * as os from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const NEEDED = 24

/** Signals that ask how far a command is. */
const ASKING = ['SIGUSR1', 'SIGINFO'].filter((name) => name in os.constants.signals)

/** The exit code of a command that a signal ended. */
const ABORTED = 130
/** A child that has just been started does not know what a signal means. */
const DEAF_MS = 1000
/** The terminal sends a signal to everybody: passed on it is the same one. */
const SAME_MS = 250
/** How long a child may take to end after a second signal. */
const LONGEST_END_MS = 2500

noDebugger()
refuseChangedNames()

if (major(process.versions.node) >= NEEDED) await start()
else await restart(newerNode())

/**
 * SIGUSR1 opens a debugger's port in Node, by which any user of the machine could run code in this process. The command line gives
 * the signal another meaning; until then it has none. It may have come before this line ran.
 */
function noDebugger() {
  for (const signal of ASKING) process.on(signal, () => {})
  if (process.execArgv.some((flag) => flag.startsWith('--inspect')) || process.env.NODE_OPTIONS?.includes('--inspect'))
    return
  const close = () => process.getBuiltinModule?.('inspector')?.close()
  close()
  // One that comes before is heard twice, the second time when the event loop first waits. A thread passes it on, late on a busy machine.
  setImmediate(() => {
    close()
    for (const later of [50, 250, 1000, 4000]) setTimeout(close, later).unref()
  })
}

/**
 * Node makes U+FFFD of what is not UTF-8, in arguments and in the environment: another file would be read or written than was
 * named. A U+FFFD that somebody really wrote is UTF-8.
 */
function refuseChangedNames() {
  const changed = (text) => text?.includes('\ufffd') ?? false
  const argument = process.argv.slice(2).find(changed)
  const folder = ['TMPDIR', 'TMP', 'TEMP'].find((name) => changed(process.env[name]))
  if (argument === undefined && folder === undefined) return
  if (isUtf8(argument === undefined ? '/proc/self/environ' : '/proc/self/cmdline')) return
  const what = argument === undefined ? `the folder for temporary files, ${folder},` : `the argument '${argument}'`
  const escaped = what.replace(/\p{Cc}/gu, '?')
  console.error(
    `vmapipe: ${escaped} is not UTF-8, and would name another file; rename it, or go to its folder (cd) and name what is in it`,
  )
  process.exit(2)
}

function isUtf8(file) {
  try {
    new TextDecoder('utf-8', { fatal: true }).decode(readFileSync(file))
    return true
  } catch {
    return false
  }
}

async function start() {
  process.env.UV_THREADPOOL_SIZE ??= String(threads())
  keepCompiled()
  // The package is a bundle with source maps beside it, by which a stack names the files of src/. Only -v shows one, and maps take time.
  if (process.argv.some((word) => word === '-v' || word === '--verbose'))
    module.setSourceMapsSupport?.(true, { nodeModules: true })
  const source = new URL('./main.ts', import.meta.url)
  const { main } = await import(
    existsSync(source) ? source.href : new URL('../../dist/cli/main.js', import.meta.url).href
  )
  await main(process.argv)
}

/**
 * Threads of libuv's pool, which reads, writes and compresses; to be said before it is first used. A processor each and
 * some that wait for disks; a guest's disk has as many requests waiting for storage as the guest sends.
 */
function threads() {
  const serves = ['serve', 'export'].includes(process.argv[2]) || process.argv.includes('--live')
  return Math.max(serves ? 16 : 4, os.availableParallelism() + 2)
}

/**
 * Compiled code is kept for the next run, which then starts in half the time. It is kept with the user's own files: Node's usual place
 * for it is a folder of temporary files, where somebody else may have put code before us.
 */
function keepCompiled() {
  try {
    const cache = join(process.env.XDG_CACHE_HOME || join(os.homedir(), '.cache'), 'vmapipe')
    // Of a path that is not UTF-8 there is another one in this string.
    if (cache.includes('\ufffd')) return
    // Node makes folders in a loop that never ends where none can be made, such as in /proc.
    for (const folder of [dirname(cache), cache]) if (!existsSync(folder)) mkdirSync(folder, 0o700)
    module.enableCompileCache(cache)
  } catch {
    // A user without a home.
  }
}

/** The program of an npm package `node` that is installed beside us, if it is new enough. */
function newerNode() {
  try {
    const file = createRequire(import.meta.url).resolve('node/package.json')
    const program = join(dirname(file), 'bin', 'node')
    if (major(JSON.parse(readFileSync(file, 'utf8')).version) >= NEEDED && existsSync(program)) return program
  } catch {
    // There is none.
  }
  console.error(
    `vmapipe: Node ${NEEDED} or newer is needed, this is ${process.versions.node}; install it, or run: npx -p node@${NEEDED} vmapipe`,
  )
  process.exit(2)
}

async function restart(program) {
  const { spawn } = await import('node:child_process')
  const flags = [...process.execArgv, '--disable-sigusr1']
  const child = spawn(program, [...flags, fileURLToPath(import.meta.url), ...process.argv.slice(2)], {
    stdio: descriptors(),
  })
  let ending = 0
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
    process.on(signal, () => {
      child.kill(signal)
      // It ends by itself, however its storage hangs, unless it hangs in its main thread.
      const now = performance.now()
      if (ending > 0 && now - ending > SAME_MS) setTimeout(() => child.kill('SIGKILL'), LONGEST_END_MS).unref()
      ending ||= now
    })
  }
  // Until it listens a signal would end it.
  for (const signal of ASKING) {
    process.on(signal, () => setTimeout(() => child.kill(signal), Math.max(0, DEAF_MS - performance.now())))
  }
  child.on('error', (error) => {
    console.error(`vmapipe: ${program} does not start: ${error.message}`)
    process.exit(2)
  })
  child.on('exit', (code, signal) => {
    const ended = ending > 0 ? ABORTED : 128 + os.constants.signals[signal]
    process.exit(code === null ? ended : code)
  })
}

/** Standard ones, and those that the arguments name: `--ready-fd 3`, or /dev/fd/63, which is what `<(command)` becomes. */
function descriptors() {
  const named = /--ready-fd[= ](\d{1,4})(?= |$)|\/(?:dev|proc\/self)\/fd\/(\d{1,4})(?= |$)/g
  const passed = new Set([0, 1, 2])
  for (const [, ready, path] of process.argv.slice(2).join(' ').matchAll(named)) passed.add(Number(ready ?? path))
  // Sockets that a service manager has opened for us (sd_listen_fds): the child knows them by our id.
  const sockets = Number(process.env.LISTEN_PID) === process.pid ? Math.min(Number(process.env.LISTEN_FDS) || 0, 64) : 0
  for (let n = 0; n < sockets; n++) passed.add(3 + n)
  return Array.from({ length: Math.max(...passed) + 1 }, (_, n) => (passed.has(n) ? n : 'ignore'))
}

function major(version) {
  return Number.parseInt(version, 10)
}
