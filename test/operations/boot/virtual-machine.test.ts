import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { AGENT_FD, MONITOR_FD } from '../../../src/operations/boot/arguments.ts'
import { VirtualMachine } from '../../../src/operations/boot/virtual-machine.ts'
import { tmpDir } from '../../support/tmp.ts'
import { needs } from '../../support/tools.ts'

const timeout = 120_000

test('pictures of the screen that are asked for at once are whole, each of them', {
  timeout,
  ...needs('qemu-system-x86_64'),
}, async (t) => {
  const screenFile = join(tmpDir(t), 'screen')
  writeFileSync(screenFile, '')
  const args = ['-S', '-nodefaults', '-display', 'none', '-vga', 'std', '-machine', 'accel=tcg', '-m', '32M']
  args.push('-chardev', `socket,id=monitor,fd=${MONITOR_FD}`, '-mon', 'chardev=monitor,mode=control')
  args.push('-chardev', `socket,id=agent,fd=${AGENT_FD}`)
  const machine = await VirtualMachine.start({ program: 'qemu-system-x86_64', args, user: null, screenFile })
  t.after(() => machine.stop())
  for (let round = 0; round < 20; round++) {
    const pictures = await Promise.all([machine.look(), machine.look(), machine.look()])
    for (const picture of pictures) assert.ok(picture !== null && picture.width > 300, `round ${round}`)
  }
})
