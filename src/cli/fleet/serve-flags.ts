/** The options of `vmapipe fleet serve`. */

import type { PageFlags } from '../page-flags.ts'

export interface ServeFlags extends Omit<PageFlags, 'listen'> {
  database?: string
  databasePasswordFile?: string
  listen?: string
  /** Where the page is served; false for nowhere. */
  page: string | false
  link: boolean
  state?: string
  config?: string
  quiet?: boolean
  verbose?: boolean
}
