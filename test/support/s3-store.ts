/** What a test knows of an S3 store that runs on loopback. */

export interface S3Store {
  endpoint: string
  /** For the environment of a process that uses the store. */
  env: Record<string, string>
}
