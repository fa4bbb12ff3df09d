/** Writes pipelines/job.schema.json, the JSON Schema of job files, for editors. */

import { writeFileSync } from 'node:fs'
import { jobSchemaText } from './json-schema.ts'

writeFileSync(new URL('../../../pipelines/job.schema.json', import.meta.url), jobSchemaText())
