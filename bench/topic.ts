/**
 * What a topic of the benchmark is: a file of its own with `run`, which measures and gives a section of RESULTS.md. It is
 * listed in topics.ts.
 */

import { join } from 'node:path'

export interface Settings {
  /** Runs of each command that count. */
  runs: number
  /** A small image, to see whether it works at all. */
  quick: boolean
  /** How long the soak takes. */
  minutes: number
  /** An empty folder in memory for the files of the topic; what is left in it is removed. */
  folder: string
}

export interface Table {
  head: string[]
  /** Columns of text stand left, those of numbers right. */
  rows: string[][]
}

export interface Goal {
  job: string
  /** As the goal was set. */
  goal: string
  measured: string
  met: boolean
  /** Why, where it is missed. */
  why?: string
}

export interface Section {
  title: string
  /** Paragraphs before the tables: what was measured and how. */
  intro: string[]
  tables: Table[]
  goals: Goal[]
}

export type RunTopic = (settings: Settings) => Promise<Section>

/** The command line as users run it. */
export function vmapipe(...args: string[]): string[] {
  return [process.execPath, join(import.meta.dirname, '../src/cli/vmapipe.js'), ...args, '--quiet']
}
