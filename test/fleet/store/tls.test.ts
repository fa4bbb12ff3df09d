import assert from 'node:assert/strict'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { openDatabase } from '../../../src/fleet/store/open.ts'
import { type Authority, makeAuthority } from '../../support/certificates.ts'
import { freePorts } from '../../support/ports.ts'
import { type Cluster, needsPostgres, startPostgres } from '../../support/postgres.ts'
import { tmpDir } from '../../support/tmp.ts'
import { open } from '../service/opened.ts'
import { silent } from './databases.ts'

describe('PostgreSQL by TLS', { timeout: 120_000, ...needsPostgres() }, () => {
  const hooks: (() => void)[] = []
  const folder = tmpDir({ after: (hook: () => void) => void hooks.push(hook) })
  let authority: Authority
  let cluster: Cluster
  let port: number
  before(async () => {
    authority = makeAuthority(folder)
    ;[port] = await freePorts(1)
    // Its name is in the certificate, and its address is not.
    cluster = await startPostgres({ tls: { port, ...authority.issue('db', { names: 'DNS:localhost' }) } })
  })
  after(async () => {
    await cluster?.stop()
    for (const hook of hooks) hook()
  })
  const url = (host: string, query: string) => `postgres://vmapipe@${host}:${port}/postgres?${query}`
  const verified = (host: string, ca = authority.ca) =>
    url(host, `sslmode=verify-full&sslrootcert=${encodeURIComponent(ca)}`)
  const refused = async (database: string) => {
    // A database that is not told to be wrong is waited for.
    const signal = AbortSignal.timeout(60_000)
    return await openDatabase({ database, folder: '/', signal, ...silent }).then(
      async (opened) => {
        await opened.close()
        return 'opened'
      },
      (error) => `${error.code} ${error.message}`,
    )
  }

  test('is verified by its authority and its name, and a planner works with it', async () => {
    const fleet = await open({ database: verified('localhost'), folder: '/' })
    try {
      const host = await fleet.host('h1', { guests: ['web'] })
      await fleet.people.start({ job: 'nightly' })
      const [work] = await host.work()
      await host.end(work)
      const connections = await cluster.program(
        'psql',
        '-Atc',
        `select distinct ssl from pg_stat_ssl join pg_stat_activity using (pid) where client_addr is not null`,
        'postgres',
      )
      assert.equal(connections.trim(), 't')
    } finally {
      await fleet.close()
    }
  })

  test('is refused, and not waited for, if it is another server than it should be', async () => {
    const other = makeAuthority(folder, 'other')
    assert.match(
      await refused(verified('localhost', other.ca)),
      /^CONFIG .* refuses the planner: .*(certificate|self-signed)/,
    )
    assert.match(await refused(verified('127.0.0.1')), /^CONFIG .* refuses the planner: .*(altnames|certificate)/)
    // The authorities of the system do not know it.
    assert.match(
      await refused(url('localhost', 'sslmode=verify-full')),
      /^CONFIG .* refuses the planner: .*certificate/,
    )
    assert.match(await refused(url('localhost', 'sslmode=disable')), /^CONFIG .*no encryption/)
    assert.equal(await refused(url('localhost', 'sslmode=no-verify')), 'opened')
  })

  test('is refused if the file of its authority is not there', async () => {
    const missing = join(folder, 'missing.pem')
    assert.match(await refused(verified('localhost', missing)), /^CONFIG sslrootcert of the database: .*no such file/)
  })
})
