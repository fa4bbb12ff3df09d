/**
 * Loaded before a test file by test/run.ts: Node's test runner follows every promise of a test by hooks, to know which test an
 * error of nobody belongs to. That costs a third of the time of tests with many promises. Such an error still fails the
 * file, and is told here with its stack; `node --test` without this tells the test too.
 *
 * The same hooks tell the runner which suite a test is declared in. Without that a suite has no tests, and its `concurrency` no effect.
 * So each test is announced to them when it is made.
 */

const hooks = require('node:async_hooks')
const { watch } = require('./open-end.cjs')

const { createHook, AsyncResource } = hooks
/** What the runner does about a new asynchronous resource. */
let announce = () => {}
/** The first is the test of the whole file. */
let root

/** The class of the runner's tests extends it. */
class Announced extends AsyncResource {
  constructor(type, options) {
    super(type, options)
    announce(this.asyncId(), type, this.triggerAsyncId(), this)
    if (type === 'Test') root ??= this
  }
}

const none = {
  enable: () => none,
  disable: () => none,
}
hooks.AsyncResource = Announced
hooks.createHook = ({ init }) => {
  announce = init
  return none
}
require('node:test')
Object.assign(hooks, { createHook, AsyncResource })

const tell = (error) => console.error(`an error of nobody: ${error?.stack ?? error}`)
process.on('uncaughtExceptionMonitor', tell)
// The runner listens too, and so it is no uncaught exception.
process.on('unhandledRejection', tell)
watch(() => root)
