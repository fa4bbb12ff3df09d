import assert from 'node:assert/strict'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { after } from 'node:test'
import fc from 'fast-check'
import { VmapipeError } from '../../src/core/errors.ts'
import { nameProblem } from '../../src/formats/vma/names.ts'
import { GuestAgent, withFrozen } from '../../src/live/qemu/freeze/agent.ts'
import { discover } from '../../src/live/qemu/inventory/discovery.ts'
import { describeMachine, machineConfig } from '../../src/live/qemu/inventory/machine.ts'
import { QmpClient } from '../../src/protocol/qmp/client.ts'
import { GREETING, Peer } from '../protocol/qmp/scripted-server.ts'
import { tmpDir } from '../support/tmp.ts'
import { attempt, fuzz } from './fuzz.ts'
import { type Mutation, mutate, mutations } from './mutation.ts'

const path = join(tmpDir({ after }), 's')

/** What the server is this time: it gets every connection. */
let serve: (peer: Peer) => unknown = () => {}
const server = createServer((socket) => void serve(new Peer(socket)))
await new Promise<void>((resolve) => server.listen(path, resolve))
after(() => server.close())

/** Keys and values that mean something to a reader of JSON, or to JavaScript. */
const key = fc.constantFrom(
  ...[
    'return',
    'error',
    'event',
    'id',
    'QMP',
    'data',
    'class',
    'desc',
    'version',
    'qemu',
    'type',
    'name',
    'device',
    'qdev',
  ],
  ...[
    'inserted',
    'image',
    'virtual-size',
    'node-name',
    'backing-image',
    '__proto__',
    'constructor',
    'toString',
    'length',
  ],
)
const json = fc.letrec((tie) => ({
  value: fc.oneof(
    { maxDepth: 4 },
    fc.constantFrom(null, true, false, 0, -1, 1, 2 ** 53, 1e308, '', 'x', '../..', '\0', '\ud800', 'x'.repeat(5000)),
    fc.array(tie('value'), { maxLength: 4 }),
    fc.dictionary(key, tie('value'), { maxKeys: 4 }),
  ),
})).value

/** Puts something else in the place of one value of an answer. */
interface Replacement {
  path: number[]
  by: unknown
}
const replacement: fc.Arbitrary<Replacement> = fc.record({ path: fc.array(fc.nat(50), { maxLength: 6 }), by: json })

function replaced(value: unknown, { path, by }: Replacement): unknown {
  const keys = value !== null && typeof value === 'object' ? Object.keys(value) : []
  if (path.length === 0 || keys.length === 0) return by
  const at = keys[path[0] % keys.length]
  const inner = replaced((value as any)[at], { path: path.slice(1), by })
  return Array.isArray(value) ? value.with(Number(at), inner) : { ...(value as object), [at]: inner }
}

/** What a small machine would say. */
const ANSWERS: Record<string, unknown> = {
  'query-block': [
    {
      device: '',
      qdev: '/machine/peripheral/virtio0/virtio-backend',
      inserted: {
        'node-name': 'f0',
        drv: 'raw',
        ro: false,
        file: 'x',
        image: { 'virtual-size': 65_536, format: 'raw' },
      },
    },
    { device: 'ide0', qdev: 'sata0', inserted: { 'node-name': 'q', drv: 'qcow2', image: { 'virtual-size': 1 << 20 } } },
    { device: 'cd', qdev: 'cd0' },
  ],
  'qom-list': [
    { name: 'type', type: 'string' },
    { name: 'virtio0', type: 'child<virtio-blk-pci>' },
    { name: 'sata0', type: 'child<ide-hd>' },
  ],
  'qom-get': 'scsi-hd',
  'query-name': { name: 'vm' },
  'query-uuid': { UUID: '0bd1ab4e-3d38-4a7c-9b1e-d2f4a3f0a001' },
  'query-status': { running: true, status: 'running' },
  'query-target': { arch: 'x86_64' },
  'query-kvm': { enabled: false },
  'query-cpus-fast': [{ 'qom-path': '/machine/cpu[0]' }],
  'query-memory-size-summary': { 'base-memory': 1 << 20 },
  'query-iothreads': [{ id: 'io1' }],
}

interface Lies {
  /** By command. */
  answers: Record<string, Replacement>
  /** Messages that it says on its own: before which command, and what. */
  extra: { before: number; message: unknown }[]
  /** Changes of the bytes of one message. */
  spoilt: { message: number; changes: Mutation[] } | null
}

const lies: fc.Arbitrary<Lies> = fc.record({
  answers: fc.dictionary(fc.constantFrom(...Object.keys(ANSWERS)), replacement, { maxKeys: 3 }),
  extra: fc.array(fc.record({ before: fc.nat(40), message: json }), { maxLength: 1 }),
  spoilt: fc.option(fc.record({ message: fc.nat(40), changes: mutations([], 3) })),
})

function monitor({ answers, extra, spoilt }: Lies) {
  return async (peer: Peer) => {
    let count = 0
    const say = (message: unknown) => {
      const line = Buffer.from(`${JSON.stringify(message)}\n`)
      peer.socket.write(spoilt?.message === count ? mutate(line, spoilt.changes) : line)
      count++
    }
    say(GREETING)
    for (let line = await peer.line(); line !== null; line = await peer.line()) {
      for (const { before, message } of extra) if (before === count) say(message)
      const { execute, id } = JSON.parse(line)
      const honest = ANSWERS[execute] ?? {}
      const lie = Object.hasOwn(answers, execute) ? answers[execute] : undefined
      say({ return: lie === undefined ? honest : replaced(honest, lie), id })
    }
  }
}

fuzz('whatever a QMP server says, drives and machine are described or refused', lies, async (input) => {
  serve = monitor(input)
  const client = await attempt(() => QmpClient.connect(path, { timeout: 150 }), 'FAILED')
  if (client instanceof VmapipeError) return
  // An answer that is lost is missed after a while only: the connection is ended first.
  const timer = setTimeout(() => client.close(), 300)
  try {
    const inventory = await attempt(() => discover(client), 'FAILED')
    if (inventory instanceof VmapipeError) return
    for (const { name, node, size } of inventory.drives) {
      assert.equal(nameProblem(name), null)
      assert.ok(typeof node === 'string' && node !== '', `node ${node}`)
      assert.ok(name.length < 200 && Number.isSafeInteger(size) && size >= 0, `${name} of ${size} bytes`)
    }
    assert.equal(new Set(inventory.drives.map(({ name }) => name)).size, inventory.drives.length)
    const machine = await attempt(() => describeMachine(client, inventory.drives), 'FAILED')
    if (!(machine instanceof VmapipeError)) JSON.parse(Buffer.from(machineConfig(machine).data).toString())
  } finally {
    clearTimeout(timer)
    client.close()
    await client.closed
  }
})

/** Of the agent: what it answers to each command, in its order. */
const agentSays = fc.array(
  fc.oneof(
    fc.constant('honest' as const),
    fc.constant('nothing' as const),
    fc.constant('hang up' as const),
    fc.record({ json }),
    fc.record({ bytes: fc.uint8Array({ maxLength: 60 }) }),
    fc.record({ error: fc.string() }),
    fc.record({ flood: fc.constantFrom(100_000, 2 << 20) }),
  ),
  { minLength: 1, maxLength: 8 },
)
type AgentAnswer = typeof agentSays extends fc.Arbitrary<(infer A)[]> ? A : never

function agent(plan: AgentAnswer[]) {
  let count = 0
  return async (peer: Peer) => {
    for (let line = await peer.line(); line !== null; line = await peer.line()) {
      const { execute, arguments: args } = JSON.parse(line.replaceAll('\xff', ''))
      const answer = plan[count++ % plan.length]
      if (answer === 'nothing') continue
      if (answer === 'hang up') peer.socket.destroy()
      else if (answer === 'honest') {
        if (execute === 'guest-sync-delimited') peer.socket.write(Buffer.of(0xff))
        peer.send({ return: args?.id ?? (execute === 'guest-fsfreeze-status' ? 'thawed' : 1) })
      } else if ('json' in answer) peer.send(`${JSON.stringify(answer.json)}\n`)
      else if ('bytes' in answer) peer.socket.write(answer.bytes)
      else if ('error' in answer) peer.send({ error: { class: 'GenericError', desc: answer.error } })
      else peer.socket.write(Buffer.alloc(answer.flood, '['))
    }
  }
}

const TIMES = { answer: 40, freeze: 40, limit: 1000 }

fuzz('whatever a guest agent says, the filesystems are frozen and thawed, or it fails', agentSays, async (plan) => {
  serve = agent(plan)
  const channel = await attempt(() => GuestAgent.connect(path, TIMES), 'FAILED')
  if (channel instanceof VmapipeError) return
  try {
    const result = await attempt(() => withFrozen(channel, async () => 'done'), 'FAILED')
    assert.ok(result instanceof VmapipeError || result === 'done')
  } finally {
    channel.close()
  }
})
