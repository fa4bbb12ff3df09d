/** A real S3 store on loopback: OpenStack Swift with its s3api, of Debian's packages, with folders, ports and a memcached of its own. */

import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { accepts, freePorts } from './ports.ts'
import type { S3Store } from './s3-store.ts'
import { tmpDir } from './tmp.ts'
import { which } from './tools.ts'

/** Programs that a test with Swift needs: see `needs` in tools.ts. */
export const SWIFT = [
  'swift-proxy-server',
  'swift-account-server',
  'swift-container-server',
  'swift-object-server',
  'memcached',
]

const KINDS = ['account', 'container', 'object'] as const

/** Starts it, and ends it with the test. A start takes 3 seconds, so let the tests of a file share it. */
export async function startSwift(
  t: { after(hook: () => void): void },
  { secret = 'testing' }: { secret?: string } = {},
): Promise<S3Store> {
  const dir = tmpDir(t)
  const [proxy, memcached, ...servers] = await freePorts(2 + KINDS.length)
  mkdirSync(join(dir, 'disks', 'd1'), { recursive: true })
  writeFileSync(join(dir, 'swift.conf'), SWIFT_CONF)
  for (const [index, kind] of KINDS.entries()) {
    writeFileSync(join(dir, `${kind}.conf`), serverConf(dir, kind, servers[index]))
  }
  makeRings(dir, servers)
  writeFileSync(join(dir, 'proxy.conf'), proxyConf(dir, proxy, memcached, secret))
  const user = process.getuid?.() === 0 ? ['-u', 'root'] : []
  const children = [
    run('memcached', ['-l', '127.0.0.1', '-p', String(memcached), '-m', '16', '-U', '0', ...user]),
    ...KINDS.map((kind) => run(`swift-${kind}-server`, [join(dir, `${kind}.conf`)])),
    run('swift-proxy-server', [join(dir, 'proxy.conf')]),
  ]
  t.after(() => {
    for (const { child } of children) child.kill('SIGKILL')
  })
  for (const port of [proxy, memcached, ...servers]) {
    for (let attempt = 0; !(await accepts(port)); attempt++) {
      const ended = children.find(({ child }) => child.exitCode !== null)
      if (ended !== undefined || attempt > 1200)
        throw new Error(`Swift did not start: ${children.map((c) => c.said())}`)
      await sleep(50)
    }
  }
  return {
    endpoint: `http://127.0.0.1:${proxy}`,
    env: {
      AWS_ENDPOINT_URL: `http://127.0.0.1:${proxy}`,
      AWS_ACCESS_KEY_ID: 'test:tester',
      AWS_SECRET_ACCESS_KEY: secret,
      AWS_REGION: 'us-east-1',
    },
  }
}

function run(program: string, args: string[]): { child: ChildProcess; said: () => string } {
  // They end with this process, whatever ends it.
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', which(program)!, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let text = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (data) => {
      if (text.length < 8192) text += data
    })
  }
  return { child, said: () => text }
}

/** Tells the proxy where the servers are. One process for all, because each start of Python takes half a second. */
function makeRings(dir: string, ports: readonly number[]): void {
  const script = `
import sys
from swift.common.ring import RingBuilder
for kind, port in zip(('account', 'container', 'object'), sys.argv[2:]):
    ring = RingBuilder(4, 1, 1)
    ring.add_dev({'region': 1, 'zone': 1, 'ip': '127.0.0.1', 'port': int(port), 'device': 'd1', 'weight': 1})
    ring.rebalance()
    ring.get_ring().save('%s/%s.ring.gz' % (sys.argv[1], kind))
`
  execFileSync('/usr/bin/python3', ['-c', script, dir, ...ports.map(String)], {
    stdio: ['ignore', 'ignore', 'inherit'],
  })
}

const SWIFT_CONF = `[swift-hash]
swift_hash_path_suffix = a
swift_hash_path_prefix = b
[storage-policy:0]
name = gold
default = yes
`

function common(dir: string, port: number): string {
  const { username } = { username: process.env.USER ?? 'root' }
  return `[DEFAULT]
bind_ip = 127.0.0.1
bind_port = ${port}
workers = 0
user = ${process.getuid?.() === 0 ? 'root' : username}
swift_dir = ${dir}
`
}

function serverConf(dir: string, kind: string, port: number): string {
  return `${common(dir, port)}devices = ${dir}/disks
mount_check = false
fallocate_reserve = 0
[pipeline:main]
pipeline = ${kind}-server
[app:${kind}-server]
use = egg:swift#${kind}
`
}

function proxyConf(dir: string, port: number, memcached: number, secret: string): string {
  const filters = [
    'catch_errors',
    'gatekeeper',
    'cache',
    'listing_formats',
    'bulk',
    's3api',
    'tempauth',
    'copy',
    'slo',
    'dlo',
    'versioned_writes',
  ]
  const eggs: Record<string, string> = {
    cache: `memcache\nmemcache_servers = 127.0.0.1:${memcached}`,
    tempauth: `tempauth\nuser_test_tester = ${secret} .admin`,
    s3api: 's3api\ns3_acl = no\ncheck_bucket_owner = no\nlocation = us-east-1',
  }
  return `${common(dir, port)}[pipeline:main]
pipeline = ${filters.join(' ')} proxy-server
[app:proxy-server]
use = egg:swift#proxy
allow_account_management = true
account_autocreate = true
${filters.map((name) => `[filter:${name}]\nuse = egg:swift#${eggs[name] ?? name}`).join('\n')}
`
}
