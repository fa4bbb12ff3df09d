/** Another real S3 store on loopback: the gateway of Ceph, of Debian's packages, with all data in memory. It knows conditional writes and Object Lock. */

import { execFileSync, spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { mkdirSync, openSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { accepts, freePorts } from './ports.ts'
import type { S3Store } from './s3-store.ts'
import { tmpDir } from './tmp.ts'
import { which } from './tools.ts'

/** Programs that a test with it needs: see `needs` in tools.ts. */
export const RADOSGW = ['ceph', 'ceph-mon', 'ceph-osd', 'monmaptool', 'radosgw', 'radosgw-admin']

const SECRET = 'secret-of-a-gateway'

/**
 * Starts it, and ends it with the test. A start takes 15 seconds, so one file has all its tests. Now and then the gateway hangs while it makes its
 * pools; then it starts again with nothing.
 */
export async function startRadosgw(t: { after(hook: () => void): void }): Promise<S3Store> {
  for (let attempt = 1; ; attempt++) {
    const hooks: (() => void)[] = []
    const end = () => {
      for (const hook of hooks.splice(0).reverse()) hook()
    }
    t.after(end)
    try {
      return await startOnce({ after: (hook) => void hooks.push(hook) })
    } catch (error) {
      end()
      if (attempt === 3) throw error
    }
  }
}

async function startOnce(t: { after(hook: () => void): void }): Promise<S3Store> {
  const dir = tmpDir(t)
  const [mon, port] = await freePorts(2)
  const [cluster, disk] = [randomUUID(), randomUUID()]
  const settings = ['-c', join(dir, 'ceph.conf')]
  const call = (program: string, ...args: string[]) =>
    execFileSync(which(program)!, args, { cwd: dir, stdio: ['ignore', 'ignore', 'pipe'], timeout: 100_000 })
  const start = (program: string, ...args: string[]) => {
    const log = openSync(join(dir, `${program}.out`), 'a')
    // It ends with this process, whatever ends it.
    const child = spawn('setpriv', ['--pdeathsig', 'KILL', which(program)!, ...settings, ...args, '-f'], {
      cwd: dir,
      stdio: ['ignore', log, log],
    })
    t.after(() => child.kill('SIGKILL'))
    return child
  }
  for (const name of ['mon', 'osd', 'rgw']) mkdirSync(join(dir, name))
  writeFileSync(join(dir, 'ceph.conf'), conf(dir, cluster, mon, port))
  call('monmaptool', '--create', '--addv', 'a', `[v1:127.0.0.1:${mon}]`, '--fsid', cluster, 'monmap')
  call('ceph-mon', ...settings, '--mkfs', '-i', 'a', '--monmap', 'monmap')
  start('ceph-mon', '-i', 'a')
  call('ceph', ...settings, 'osd', 'new', disk)
  call('ceph-osd', ...settings, '-i', '0', '--mkfs', '--osd-uuid', disk)
  start('ceph-osd', '-i', '0')
  call('ceph', ...settings, 'osd', 'crush', 'add', 'osd.0', '1', 'root=default', 'host=x')
  const gateway = start('radosgw', '-n', 'client.rgw.a')
  for (let attempt = 0; !(await accepts(port)); attempt++) {
    if (gateway.exitCode !== null || attempt > 180) throw new Error(`radosgw did not start: ${whyNot(dir)}`)
    await sleep(250)
  }
  const user = ['--uid=tester', '--display-name=tester', '--access-key=key', `--secret=${SECRET}`]
  call('radosgw-admin', ...settings, 'user', 'create', ...user)
  const endpoint = `http://127.0.0.1:${port}`
  const keys = { AWS_ACCESS_KEY_ID: 'key', AWS_SECRET_ACCESS_KEY: SECRET }
  return { endpoint, env: { AWS_ENDPOINT_URL: endpoint, ...keys, AWS_REGION: 'us-east-1' } }
}

/** What the programs have said last. */
function whyNot(dir: string): string {
  const logs = readdirSync(dir).filter((name) => /\.(log|out)$/.test(name))
  return logs.map((name) => `${name}:\n${readFileSync(join(dir, name), 'utf8').slice(-1500)}`).join('\n')
}

function conf(dir: string, cluster: string, mon: number, port: number): string {
  return `[global]
fsid = ${cluster}
mon_initial_members = a
mon_host = [v1:127.0.0.1:${mon}]
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 1
osd_pool_default_pgp_num = 1
osd_pool_default_pg_autoscale_mode = off
mon_allow_pool_size_one = true
mon_max_pg_per_osd = 1000
mon_warn_on_pool_no_redundancy = false
osd_crush_chooseleaf_type = 0
osd_objectstore = memstore
osd_class_update_on_start = false
osd_crush_update_on_start = false
memstore_device_bytes = 1073741824
ms_bind_ipv6 = false
ms_bind_msgr2 = false
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
run_dir = ${dir}
admin_socket = ${dir}/$name.asok
log_file = ${dir}/$name.log
mon_data = ${dir}/mon
osd_data = ${dir}/osd
rgw_data = ${dir}/rgw
rgw_frontends = beast endpoint=127.0.0.1:${port}
rgw_thread_pool_size = 16
rgw_run_sync_thread = false
`
}
