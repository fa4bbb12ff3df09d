/**
 * A backup in a process of its own, which kills itself before it sends a given command to QEMU:
 *
 *     node killed-backup.ts QMP FOLDER PARENT NUMBER
 *
 * PARENT is the uuid of the parent. What it has archived is in FOLDER/published, if it came that far. Prints the number of commands if
 * it was not killed.
 */

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { serialize } from 'node:v8'
import { QmpClient } from '../../../../src/protocol/qmp/client.ts'
import { type Backup, backUp } from './tracked-machine.ts'

const [qmp, dir, parent, last] = process.argv.slice(2)
let sent = 0
const { execute } = QmpClient.prototype
QmpClient.prototype.execute = function (this: QmpClient, ...args: any[]): any {
  if (sent++ === Number(last)) process.kill(process.pid, 'SIGKILL')
  return (execute as any).apply(this, args)
}

const publish = ({ uuid, clusters, reasons }: Backup) =>
  writeFileSync(join(dir, 'published'), serialize({ uuid: Buffer.from(uuid), clusters, reasons }))
const since = { uuid: Buffer.from(parent, 'hex'), clusters: [], drives: [], parent: null, reasons: {} }
await backUp({ qmp, dir, since, publish })
console.log(sent)
