// Loaded first (node --import): these calls for an open file never return, each of them in a thread of the pool, as those for a file on
// an NFS server that is gone. HUNG_CALLS names them, such as sync,datasync,read; HUNG_NAME is how the names of files end whose calls
// hang; HUNG_FIFO is a FIFO that nobody opens for writing. Beside it a file FIFO.waits tells that a call hangs.
import fs, { readlinkSync, writeFileSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { syncBuiltinESMExports } from 'node:module'

const { HUNG_CALLS, HUNG_FIFO, HUNG_NAME = '' } = process.env

function hangs(fd) {
  if (!readlinkSync(`/proc/self/fd/${fd}`).endsWith(HUNG_NAME)) return false
  writeFileSync(`${HUNG_FIFO}.waits`, '')
  return true
}

const some = await open('/dev/null')
const prototype = Object.getPrototypeOf(some)
await some.close()

for (const name of HUNG_CALLS.split(',')) {
  const method = prototype[name]
  prototype[name] = function (...args) {
    return hangs(this.fd) ? open(HUNG_FIFO, 'r') : method.apply(this, args)
  }
  const call = fs[name]
  if (call === undefined) continue
  fs[name] = (fd, ...args) => (hangs(fd) ? fs.open(HUNG_FIFO, 'r', args.at(-1)) : call(fd, ...args))
}
syncBuiltinESMExports()
