/** The options of an object in a store, as the sink takes them. */

import { z } from '../../core/stage.ts'
import type { ObjectOptions } from '../../storage/archive/s3/object-options.ts'

export const objectShape: z.ZodType<ObjectOptions> = z.strictObject({
  retainUntil: z
    .string()
    .optional()
    .describe('nobody can remove or replace it before this time (Object Lock), such as 2027-06-01'),
  storageClass: z.string().optional().describe('such as STANDARD_IA'),
  sse: z.string().optional().describe('encryption by the store: AES256, aws:kms or aws:kms:KEY'),
  tags: z.record(z.string(), z.string()).optional().describe('at most 10 tags'),
})
