/** Writes pipelines/pipeline.schema.json, for editors, from the stages' own definitions: npm run schema. */

import { writeFileSync } from 'node:fs'
import { stages } from './registry.ts'
import { schemaText } from './schema-text.ts'

writeFileSync(new URL('../../pipelines/pipeline.schema.json', import.meta.url), schemaText(stages))
