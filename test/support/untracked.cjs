/**
 * Loaded before a test file by test/run.ts: Node's test runner follows every promise of a test by hooks, to know which test an
 * error of nobody belongs to. That costs a third of the time of tests with many promises. Such an error still fails the
 * file, and is told here with its stack; `node --test` without this tells the test too.
 */

const hooks = require('node:async_hooks')

const { createHook } = hooks
const none = {
  enable: () => none,
  disable: () => none,
}
hooks.createHook = () => none
require('node:test')
hooks.createHook = createHook

const tell = (error) => console.error(`an error of nobody: ${error?.stack ?? error}`)
process.on('uncaughtExceptionMonitor', tell)
// The runner listens too, and so it is no uncaught exception.
process.on('unhandledRejection', tell)
