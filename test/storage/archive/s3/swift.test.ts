/** The contract of places against OpenStack Swift, and what users do with archives in its buckets. */

import { after, before } from 'node:test'
import { S3Client } from '../../../../src/storage/archive/s3/client.ts'
import { SWIFT, startSwift } from '../../../support/swift.ts'
import { needs } from '../../../support/tools.ts'
import { archivePlace } from '../contract.ts'

const hooks: (() => void)[] = []
after(() => {
  for (const hook of hooks.reverse()) hook()
})

if (needs(...SWIFT).skip === false) {
  before(async () => {
    const { env } = await startSwift({ after: (hook) => void hooks.push(hook) })
    Object.assign(process.env, env)
    const client = await S3Client.open('archives')
    await client.ask({ method: 'PUT' })
    client.close()
  })
  archivePlace('Swift', { noReplace: true, ranges: true, list: true }, () => ({
    at: (name) => `s3://archives/a folder+/${name}`,
  }))
}
