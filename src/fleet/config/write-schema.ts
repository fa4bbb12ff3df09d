/** Writes pipelines/fleet.schema.json, the JSON Schema of the planner's config, for editors. */

import { writeFileSync } from 'node:fs'
import { fleetSchemaText } from './json-schema.ts'

writeFileSync(new URL('../../../pipelines/fleet.schema.json', import.meta.url), fleetSchemaText())
