/**
 * Sees to it that the process of a test file ends, so that test/run.ts need not wait for it: a process that goes on after its last test, or
 * for too long, is ended, and tells what was still open. Processes that it leaves with its output open are ended too.
 */

const { readdirSync, readFileSync, readlinkSync } = require('node:fs')
const { isMainThread } = require('node:worker_threads')

const LOOK_MS = 1000
const given = (name) => Number(process.env[name] ?? Number.POSITIVE_INFINITY)
/** How long it may take after its last test and its last hook. */
const PATIENCE_MS = given('VMAPIPE_TEST_PATIENCE_MS')
const LONGEST_MS = given('VMAPIPE_TEST_LONGEST_MS')
const { argv, env, pid: own } = process

/** `root` gives the runner's test of the whole file, which all others are below. */
exports.watch = (root) => {
  // Workers and forks of a test file load this too.
  if (env.NODE_TEST_CONTEXT !== 'child-v8' || !isMainThread || !argv[1]?.endsWith('.test.ts')) return
  let endedAt = Number.POSITIVE_INFINITY
  const look = () => {
    const now = performance.now()
    endedAt = hasEnded(root()) ? Math.min(endedAt, now) : Number.POSITIVE_INFINITY
    if (now >= endedAt + PATIENCE_MS) {
      // A timer that would soon end by itself hurts nobody.
      if (onlyTimersAreOpen()) process.exit()
      giveUp('its tests have ended, but not its process')
    }
    if (now >= LONGEST_MS) giveUp(`it has not ended after ${LONGEST_MS / 1000} s, in ${running(root()).join(', ')}`)
  }
  setInterval(look, LOOK_MS).unref()
  process.on('exit', endHeirs)
}

function giveUp(why) {
  console.error(`${argv[1]}: ${why}. Still open: ${stillOpen().join(', ')}`)
  process.exit(1)
}

function hasEnded(root) {
  if (root === undefined || root.subtests.length === 0) return false
  return root.subtests.every(({ finished }) => finished) && root.hooks.after.every(({ endTime }) => endTime !== null)
}

/** The names of tests that have begun and not ended. */
function running({ name, subtests } = { subtests: [] }) {
  const below = subtests.filter(({ finished, startTime }) => !finished && startTime !== null).flatMap(running)
  return below.length > 0 ? below : [`'${name}'`]
}

function onlyTimersAreOpen() {
  const others = stillOpen().filter((open) => open !== 'Timeout')
  // Its own output and errors.
  return others.length <= 2 && others.every((open) => open === 'PipeWrap')
}

function stillOpen() {
  const children = processes().filter(({ parent }) => parent === own)
  return [...process.getActiveResourcesInfo(), ...children.map(({ pid, command }) => `process ${pid} (${command})`)]
}

/** Ends the processes that write where this one does: its output would never end. */
function endHeirs() {
  const outputs = outputsOf(own)
  for (const { pid, command } of processes()) {
    if (pid === own || !outputsOf(pid).some((output) => outputs.includes(output))) continue
    try {
      process.kill(pid, 'SIGKILL')
      console.error(`${argv[1]}: process ${pid} was left running (${command})`)
    } catch {
      // It has ended meanwhile.
    }
  }
}

/** Where the process writes, if these are pipes or sockets. */
function outputsOf(pid) {
  try {
    return [1, 2].map((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`)).filter((name) => /^(pipe|socket):/.test(name))
  } catch {
    return []
  }
}

function processes() {
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name))
  return pids.flatMap((pid) => {
    try {
      const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim()
      const parent = /^PPid:\t(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))[1]
      return [{ pid: Number(pid), parent: Number(parent), command }]
    } catch {
      return []
    }
  })
}
