/** Flags for what an archive in an S3 store gets besides its bytes. */

import type { Command } from 'commander'
import type { ObjectOptions } from '../storage/archive/s3/object-options.ts'
import { pairs } from './flags.ts'

export interface ObjectFlags {
  retainUntil?: string
  storageClass?: string
  sse?: string
  tag?: [string, string][]
}

export function objectFlags(command: Command): Command {
  return command
    .option('--retain-until <time>', 's3://: nobody can remove it before this time (Object Lock), such as 2027-06-01')
    .option('--storage-class <class>', 's3://: such as STANDARD_IA')
    .option('--sse <method>', 's3://: encryption by the store: AES256, aws:kms or aws:kms:KEY')
    .option('--tag <name=value>', 's3://: a tag; up to 10 times', pairs('--tag guest=vm1', { emptyValue: true }))
}

/** Undefined if none of the flags is given. */
export function objectOf({ retainUntil, storageClass, sse, tag }: ObjectFlags): ObjectOptions | undefined {
  const given = Object.entries({ retainUntil, storageClass, sse, tags: tag && Object.fromEntries(tag) })
  const options = given.filter(([, value]) => value !== undefined)
  return options.length === 0 ? undefined : Object.fromEntries(options)
}
