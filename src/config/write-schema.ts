/** Writes what is made from the stages' own definitions: pipelines/pipeline.schema.json, for editors, and the table in pipelines/README.md. */

import { readFileSync, writeFileSync } from 'node:fs'
import { stages } from './registry.ts'
import { schemaText } from './schema.ts'
import { withStageTable } from './stage-table.ts'

const pipelines = new URL('../../pipelines/', import.meta.url)
const readme = new URL('README.md', pipelines)
writeFileSync(new URL('pipeline.schema.json', pipelines), schemaText(stages))
writeFileSync(readme, withStageTable(readFileSync(readme, 'utf8'), stages))
