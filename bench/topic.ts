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
  /** A folder in memory that all topics of a run have in common. */
  shared: string
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
  /** The number that `bench check` compares with the one that was kept: a ratio, or another measure that is better if it is less. */
  value?: number
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

let launcher = join(import.meta.dirname, '../src/cli/vmapipe.js')

/** Measures another copy of the program. */
export function useLauncher(path: string): void {
  launcher = path
}

/** The command line as users run it. */
export function vmapipe(...args: string[]): string[] {
  return [process.execPath, launcher, ...args, '--quiet']
}

/** The same with neither `--quiet`, which some commands have not, nor another word. */
export function plainVmapipe(...args: string[]): string[] {
  return [process.execPath, launcher, ...args]
}
